/* SPDX-License-Identifier: MIT
 *
 * pirn/processor.h: the second seed's ChannelProcessor: a function turned into an event loop of its own. Callers call
 * it as a function and wait; one tasklet (or `concurrency` of them) takes the calls in order. core/processor.c
 */
#ifndef PIRN_PROCESSOR_H
#define PIRN_PROCESSOR_H

#include <pirn/base.h>
#include <pirn/deferred.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pirn_processor pirn_processor;

/* Handle one call. Parks: as it likes. Thread: a tasklet of the processor's, at its home. Args: `context` is the
 * processor's, `request` the caller's. Owns: `request` stays the processor's, which drops it afterwards; `*out`, zeroed
 * before, goes to the caller. Returns: 0 with `out` set, or a negative code. */
typedef int (*pirn_action_fn)(void *context, void *request, pirn_result *out);

typedef struct pirn_processor_options {
    const char *name;     /* NULL: "processor"                                                       */
    unsigned concurrency; /* tasklets that take calls, at most 4,096; 0: 1, strictly one after the other */
    unsigned queue_max;   /* calls that may wait, at most 2^24; more callers park; 0: 1,024            */
} pirn_processor_options;

/* Fill in the defaults. Parks: no. Thread: any. */
PIRN_API void pirn_processor_options_init(pirn_processor_options *options);

/* Start one at the caller's worker. Parks: no. Thread: a worker's. Args: NULL options are the defaults; they are
 * copied. Owns: the processor is the caller's, until pirn_processor_join; `context` stays the caller's and has to
 * outlive it. Returns: NULL when there is no memory, no worker here, no `action`, or an option is out of range. */
PIRN_API pirn_processor *pirn_processor_create(pirn_action_fn action, void *context,
                                               const pirn_processor_options *options);

/* Call it and wait for the answer. Parks: yes. Thread: a tasklet on any worker. Args: `drop_request` and `out` may be
 * NULL. Owns: `request` is the processor's from now on and `drop_request` destroys it exactly once, on every return,
 * after the action is done with it (so later than this returns, when the wait ends early); `*out` is the caller's.
 * Returns: what the action came to; PIRN_ECLOSED (after or at a stop); PIRN_EDEADLK (from its own action while serial:
 * it would wait for itself); PIRN_ENOMEM; the wait's codes: a call not yet begun is skipped, a late answer destroyed
 * (with PIRN_NOW always PIRN_EAGAIN, and the action is not called). */
PIRN_API int pirn_processor_call(pirn_processor *processor, void *request, pirn_drop_fn drop_request, pirn_result *out,
                                 pirn_time deadline);

/* Stop taking calls: new ones get PIRN_ECLOSED, those waiting are answered with PIRN_ECLOSED, the ones running go on.
 * Once more is harmless. Parks: no. Thread: a worker's, also in the action. */
PIRN_API void pirn_processor_stop(pirn_processor *processor);

/* Stop, wait until its tasklets have ended, and free it. Parks: yes. Thread: a tasklet on any worker, one at a time.
 * Owns: on any return but 0 it still exists, stopped, and this may be called again. Returns: 0; PIRN_EDEADLK (from its
 * own action); PIRN_ENOMEM (on another worker than its home); the wait's codes. */
PIRN_API int pirn_processor_join(pirn_processor *processor, pirn_time deadline);

#ifdef __cplusplus
}
#endif
#endif
