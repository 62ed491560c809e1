/* SPDX-License-Identifier: MIT
 *
 * What: the life of a request: holds, messages, exactly one finish. The contract is in request.h.
 *
 * Threads: as request.h. `under_way` and `refusing` belong to the reactor's thread; one runtime runs at a time.
 * Why a late completion needs no care: the deferred takes one result. When a cancel came first, it refuses the
 *       second and destroys its value, so finish need not know who won.
 * Why the home holds until the deferred has a result: its canceller, which touches the request, runs only before that.
 *       The result arrives exactly once, whichever it is.
 */
#include "request.h"

#include "deferred.h"
#include "live.h"
#include "runtime.h"
#include "sched.h"

static pn_list under_way = {{&under_way.head, &under_way.head}};
static bool refusing;

static void drop_hold(pn_request *request) {
    if (pn_below->add(&request->holds, UINT32_MAX) == 0) {
        pirn_result_drop(&request->result);
        request->kind->destroy(request);
    }
}

static void stop(pn_request *request, int code, const char *why) {
    if (request->stopped) {
        return;
    }
    request->stopped = true;
    (void)pirn_result_fail(&request->result, code, "%s: %s", request->kind->name, why);
    request->kind->stop(request);
}

/* Reactor. */
static void deliver_ask(pn_message *message) {
    pn_request *request = PN_CONTAINER_OF(message, pn_request, ask);
    pn_list_append(&under_way, &request->link);
    if (refusing) {
        (void)pirn_result_fail(&request->result, PIRN_ECLOSED, "%s: the runtime is shutting down", request->kind->name);
        pn_request_finish(request);
        return;
    }
    request->kind->begin(request);
}

/* Reactor. The ask came before, from the same thread. */
static void deliver_withdraw(pn_message *message) {
    pn_request *request = PN_CONTAINER_OF(message, pn_request, withdraw);
    if (pn_linked(&request->link)) {
        stop(request, PIRN_ECANCELED, "cancelled");
    }
    drop_hold(request);
}

/* Home: the deferred's canceller. It fails with PIRN_ECANCELED right after, whatever the reactor does. */
static void withdraw(pirn_deferred *deferred, void *context) {
    (void)deferred;
    pn_request *request = context;
    if (request->withdrawn) {
        return;
    }
    request->withdrawn = true;
    (void)pn_below->add(&request->holds, 1);
    pn_reactor_post(&request->withdraw);
}

/* Home: the deferred's result has arrived, so the canceller cannot run any more. */
static void home_is_done(void *context) {
    pn_record_end();
    drop_hold(context);
}

pirn_deferred *pn_request_submit(pn_request *request, const pn_request_kind *kind, const char *file, int line) {
    request->kind = kind;
    request->ask.deliver = deliver_ask;
    request->withdraw.deliver = deliver_withdraw;
    pn_sched *sched = pn_sched_self();
    pirn_deferred *deferred = NULL;
    if (sched && sched->in_callback && sched->stage >= PN_REFUSING) {
        pn_sched_tell_refusal(sched, kind->name, file,
                              line); /* a callback that asks again would go on without an end */
    } else if (sched) {
        deferred = pn_deferred_create_from((int)sched->options.id, withdraw, request, file, line);
    } else {
        pn_warn("%s() from %s: its answer needs a worker. Ask in a tasklet, started with pirn_foreign_spawn().",
                kind->name, pn_below->thread_role());
    }
    if (!deferred) {
        kind->destroy(request);
        return NULL;
    }
    pn_below->store(&request->holds, 2);
    pn_deferred_set_source(deferred, home_is_done);
    request->deferred = pirn_deferred_retain(deferred);
    pn_record_begin();
    pn_reactor_post(&request->ask);
    return deferred;
}

void pn_request_finish(pn_request *request) {
    PN_ASSERT(pn_linked(&request->link));
    pn_node_unlink(&request->link);
    (void)pirn_deferred_settle(request->deferred, &request->result);
    pirn_deferred_release(request->deferred);
    drop_hold(request);
}

void pn_requests_refuse(void) {
    refusing = true;
    /* A stop may finish others than its own, and some end only in a later callback: so take them over one by one. */
    pn_list old;
    pn_list_init(&old);
    for (pn_node *node = pn_list_pop(&under_way); node; node = pn_list_pop(&under_way)) {
        pn_list_append(&old, node);
    }
    for (pn_node *node = pn_list_pop(&old); node; node = pn_list_pop(&old)) {
        pn_list_append(&under_way, node);
        stop(PN_CONTAINER_OF(node, pn_request, link), PIRN_ECLOSED, "the runtime is shutting down");
    }
}

bool pn_requests_under_way(void) {
    return !pn_list_empty(&under_way);
}

void pn_requests_reset(void) {
    PN_ASSERT(pn_list_empty(&under_way));
    refusing = false;
}
