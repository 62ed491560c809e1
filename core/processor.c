/* SPDX-License-Identifier: MIT
 *
 * What: the second seed's ChannelProcessor: calls go through a bounded channel to one tasklet, or `concurrency` of
 *       them, the takers; each is answered through a deferred of its caller's worker.
 *
 * Threads: the takers live on the worker that made the processor. Calls and stop come from any worker: the channel is
 *       shared, and a deferred can be settled from anywhere.
 *
 * Invariants: (1) a call is answered exactly once, by whoever took it out of the channel: a taker, a stop, or the
 *       channel's drop; (2) an answer neither waits nor fails, so a caller that gave up, was killed or lives elsewhere
 *       can not hold up the processor; (3) no call enters the channel after it was closed, and stop empties it after
 *       closing.
 * States:   taking calls -> stopped (channel closed; running actions go on) -> joined (freed). The last taker to end,
 *           should all be cancelled, stops it too, so that no caller waits for nobody.
 * Lifetime: the creator's, until pirn_processor_join. A call record belongs to the caller until it is sent, then to the
 *       taker.
 * Rejected: the seed's reply by rendezvous (a killed caller parks the processor for ever) and its stop() as a value in
 *       the queue (it waits behind the calls, and deadlocks from inside the action).
 */
#include <string.h>

#include <pirn/channel.h>
#include <pirn/processor.h>

#include "alloc.h"
#include "call.h"
#include "channel.h"
#include "deferred_inside.h"
#include "failure.h"

#define PROCESSOR_QUEUE_DEFAULT   1024
#define PROCESSOR_CONCURRENCY_MAX 4096

struct pirn_processor {
    /* immutable after create */
    pirn_action_fn action;
    void *context;
    pirn_channel *calls; /* of call *                                                                  */
    unsigned taker_count;
    /* home only */
    unsigned takers_alive;
    /* who joins */
    unsigned joined_count; /* takers[0 .. joined_count) are gone                                         */
    pirn_tasklet takers[]; /* immutable after create                                                     */
};

typedef struct call {
    void *request;
    pirn_drop_fn drop;
    pirn_deferred *reply; /* held                                                                        */
} call;

/* ---- answers ---- */

/* Takes what `result` owns; `c` is gone afterwards. */
static void answer(call *c, pirn_result *result) {
    pn_value_drop(c->drop, c->request);
    (void)pirn_deferred_settle(c->reply, result); /* to a caller that has given up: destroyed */
    pirn_deferred_release(c->reply);
    pn_free(c);
}

static void answer_closed(call *c) {
    pirn_result closed = {.status = PIRN_ECLOSED};
    answer(c, &closed);
}

/* The channel's drop: a call handed to a taker that was cancelled before it ran. */
static void drop_call(void *element) {
    answer_closed(*(call **)element);
}

/* ---- takers ---- */

static void serve(pirn_processor *processor, call *c) {
    pirn_result result = {0};
    if (pirn_channel_closed(processor->calls)) {
        answer_closed(c);
        return;
    }
    if (!pirn_deferred_finished(c->reply)) { /* else the caller has given up already */
        pn_tasklet_set_at_work(true);
        pn_call_conclude(&result, processor->action(processor->context, c->request, &result));
        pn_tasklet_set_at_work(false);
    }
    answer(c, &result);
}

static int take_calls(void *arg) {
    pirn_processor *processor = arg;
    for (;;) {
        call *c;
        int error = pirn_recv(processor->calls, &c, PIRN_FOREVER);
        if (error == 0) {
            serve(processor, c);
        } else if (pirn_channel_closed(processor->calls) || pirn_cancelled()) {
            return 0;
        } /* else somebody threw at us, whatever code: once, and between two calls, so there is nothing to undo */
    }
}

static void taker_ended(void *arg) {
    pirn_processor *processor = arg;
    if (--processor->takers_alive == 0) {
        pirn_processor_stop(processor);
    }
}

static bool is_taker(const pirn_processor *processor, pirn_tasklet tasklet) {
    for (unsigned i = 0; i < processor->taker_count; i++) {
        if (processor->takers[i].id == tasklet.id) {
            return true;
        }
    }
    return false;
}

/* ---- create ---- */

void pirn_processor_options_init(pirn_processor_options *options) {
    *options = (pirn_processor_options){0};
}

static bool spawn_taker(pirn_processor *processor, const char *name) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = name;
    options.flags = PIRN_DAEMON | PIRN_JOINABLE;
    pn_ending ending = {.fn = taker_ended, .arg = processor};
    pn_tasklet *taker = pn_call_spawn(&options, take_calls, processor, &ending, __FILE__, __LINE__);
    if (taker) {
        taker->rests = true;
        processor->calls->server = processor->taker_count == 0 ? pn_tasklet_handle(taker).id : PN_SOMEBODY;
        processor->takers[processor->taker_count++] = pn_tasklet_handle(taker);
        processor->takers_alive++;
    }
    return taker != NULL;
}

/* The takers have not run yet: they end without running. */
static void unmake(pirn_processor *processor) {
    for (unsigned i = 0; i < processor->taker_count; i++) {
        (void)pirn_cancel_pending(processor->takers[i]);
        (void)pirn_release(processor->takers[i]);
    }
    pirn_channel_destroy(processor->calls);
    pn_free(processor);
}

static bool spawn_takers(pirn_processor *processor, const char *name, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (!spawn_taker(processor, name)) {
            return false;
        }
    }
    return true;
}

static pirn_channel *make_channel(const char *name, unsigned queue_max) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = name;
    options.drop = drop_call;
    options.preference = PIRN_PREFER_NEITHER; /* the caller goes on to its own wait: one switch less */
    return pirn_channel_create_with(sizeof(call *), queue_max ? queue_max : PROCESSOR_QUEUE_DEFAULT, &options);
}

pirn_processor *pirn_processor_create(pirn_action_fn action, void *context, const pirn_processor_options *options) {
    pirn_processor_options defaults;
    pirn_processor_options_init(&defaults);
    options = options ? options : &defaults;
    unsigned count = options->concurrency ? options->concurrency : 1;
    const char *name = options->name ? options->name : "processor";
    if (!action || count > PROCESSOR_CONCURRENCY_MAX) {
        return NULL;
    }
    if (!pn_sched_self()) {
        pn_warn("pirn_processor_create() from %s: its tasklets need a worker. Do this in a tasklet, started with "
                "pirn_foreign_spawn().",
                pn_below ? pn_below->thread_role() : "a thread outside pirn_run()");
        return NULL;
    }
    pirn_processor *processor = pn_calloc(1, sizeof *processor + count * sizeof processor->takers[0]);
    if (!processor) {
        return NULL;
    }
    processor->action = action;
    processor->context = context;
    processor->calls = make_channel(name, options->queue_max);
    if (!processor->calls) {
        pn_free(processor);
        return NULL;
    }
    if (!spawn_takers(processor, name, count)) {
        unmake(processor);
        return NULL;
    }
    return processor;
}

/* ---- call ---- */

static int may_call(const pirn_processor *processor, pirn_time deadline) {
    int error = pn_may_wait("pirn_processor_call", deadline);
    if (error != 0) {
        return error;
    }
    if (deadline == PIRN_NOW) {
        return PIRN_EAGAIN; /* an answer takes a turn of another tasklet at least */
    }
    bool serial = processor->taker_count == 1;
    return serial && is_taker(processor, pirn_self()) ? PIRN_EDEADLK : 0;
}

/* Hand the call over. On 0 the processor has the request; `*reply` is the caller's hold on the answer. */
static int submit(pirn_processor *processor, void *request, pirn_drop_fn drop_request, pirn_time deadline,
                  pirn_deferred **reply) {
    call *c = pn_malloc(sizeof *c);
    *reply = c ? pn_deferred_create_from(-1, NULL, NULL, __FILE__, __LINE__) : NULL;
    if (!*reply) {
        pn_free(c);
        return PIRN_ENOMEM;
    }
    (*reply)->producer = processor->calls->server;
    *c = (call){.request = request, .drop = drop_request, .reply = pirn_deferred_retain(*reply)};
    int error = pirn_send(processor->calls, &c, deadline);
    if (error != 0) {
        pirn_deferred_release(c->reply);
        pirn_deferred_release(*reply);
        pn_free(c);
    }
    return error;
}

int pirn_processor_call(pirn_processor *processor, void *request, pirn_drop_fn drop_request, pirn_result *out,
                        pirn_time deadline) {
    pirn_result result = {0};
    pirn_deferred *reply = NULL;
    int error = may_call(processor, deadline);
    if (error == 0) {
        error = submit(processor, request, drop_request, deadline, &reply);
    }
    if (error == 0) {
        error = pirn_await_take(reply, &result, deadline);
    } else {
        pn_value_drop(drop_request, request);
    }
    if (out) {
        *out = result;
    } else {
        pirn_result_drop(&result);
    }
    return error;
}

/* ---- stop and join ---- */

void pirn_processor_stop(pirn_processor *processor) {
    if (!pn_sched_self()) {
        pn_warn("pirn_processor_stop() from %s: do this in a tasklet, started with pirn_foreign_spawn().",
                pn_below ? pn_below->thread_role() : "a thread outside pirn_run()");
        return;
    }
    pirn_channel_close(processor->calls);
    call *c;
    while (pirn_recv(processor->calls, &c, PIRN_NOW) == 0) {
        answer_closed(c);
    }
}

int pirn_processor_join(pirn_processor *processor, pirn_time deadline) {
    if (is_taker(processor, pirn_self())) {
        return PIRN_EDEADLK;
    }
    if (deadline != PIRN_NOW && pn_require_tasklet("pirn_processor_join") != 0) {
        return PIRN_ETHREAD;
    }
    pirn_processor_stop(processor);
    for (; processor->joined_count < processor->taker_count; processor->joined_count++) {
        int error = pirn_join(processor->takers[processor->joined_count], NULL, deadline);
        if (error != 0 && error != PIRN_EDEAD) { /* that one: it ended with an earlier runtime */
            return error;
        }
    }
    pirn_channel_destroy(processor->calls);
    pn_free(processor);
    return 0;
}
