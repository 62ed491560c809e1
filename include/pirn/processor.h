/* SPDX-License-Identifier: MIT
 *
 * pirn/processor.h: the second seed's ChannelProcessor: a function turned into an event loop of its own. Callers call
 * it as a function and wait; one tasklet (or `concurrency` of them) takes the calls in order.
 */
#ifndef PIRN_PROCESSOR_H
#define PIRN_PROCESSOR_H

#include <pirn/base.h>
#include <pirn/deferred.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pirn_processor pirn_processor;

/* Handle one call. `context` is the processor's, `request` the caller's (it stays alive until the caller is answered or
 * has given up: see pirn_processor_call). Returns 0 with `out` set, or a negative code. May park. */
typedef int (*pirn_action_fn)(void *context, void *request, pirn_result *out);

typedef struct pirn_processor_options {
    const char *name;     /* NULL: "processor"                                                       */
    unsigned concurrency; /* tasklets that take calls, at most 4,096; 0: 1, strictly one after the other */
    unsigned queue_max;   /* calls that may wait, at most 2^24; more callers park; 0: 1,024            */
} pirn_processor_options;

/* Fill in the defaults. */
PIRN_API void pirn_processor_options_init(pirn_processor_options *options);

/* Start one at the caller's worker. NULL: no memory, no worker here, options out of range. Owns: the caller,
 * until pirn_processor_join. */
PIRN_API pirn_processor *pirn_processor_create(pirn_action_fn action, void *context,
                                               const pirn_processor_options *options);

/* Call it and wait for the answer. Parks: yes. Thread: a tasklet on any worker. Owns: `request` is the processor's from
 * now on and `drop_request` (NULL allowed) destroys it exactly once, on every return, after the action is done with it;
 * `*out` is the caller's. Returns: what the action came to; PIRN_ECLOSED after or at a stop; PIRN_EDEADLK when called
 * from its own action while serial; PIRN_EAGAIN, PIRN_ETIMEDOUT, PIRN_ECANCELED (a call not yet begun is skipped, a
 * late answer destroyed), PIRN_ENOMEM, PIRN_ETHREAD. */
PIRN_API int pirn_processor_call(pirn_processor *processor, void *request, pirn_drop_fn drop_request, pirn_result *out,
                                 pirn_time deadline);

/* Stop taking calls: new ones get PIRN_ECLOSED, those waiting are answered with PIRN_ECLOSED, the ones running go on.
 * Idempotent; never parks; callable from the action. Thread: any worker. */
PIRN_API void pirn_processor_stop(pirn_processor *processor);

/* Stop, wait until its tasklets have ended, and free it. Parks. Not from its own action (PIRN_EDEADLK). Returns 0,
 * or the wait's code: then it still exists. */
PIRN_API int pirn_processor_join(pirn_processor *processor, pirn_time deadline);

#ifdef __cplusplus
}
#endif
#endif
