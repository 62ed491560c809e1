/* SPDX-License-Identifier: MIT
 *
 * What: the chain of a deferred: its pairs run front to back, a returned deferred is waited for, and what stands at the
 *       end is published and handed to the awaiters.
 *
 * Threads: the home; pn_deferred_borrow any.
 *
 * The loop: deferreds that wait for others form chains of any length, so nothing here recurses over them. A stack of
 *       deferreds, linked through `under`, holds those at work: when the top one's result goes to another that waits
 *       for it, is chained to it, or is the list or race of it, that one goes on top. Adding to a running deferred only
 *       appends.
 * Invariants: (1) each deferred on that stack is `running`, and held: by pn_deferred_run, by the hold that attach took,
 *       or by the one that a mover returned; (2) a link is out of the chain before its callback runs, and is not
 *       touched after that, for the callback may free it; (3) `final` is written only while UNSETTLED, so a borrower on
 *       another thread may read it.
 * Source: Twisted's Deferred._runCallbacks, but: a deferred that waits and is paused too does not keep those under it
 *       from going on; one whose callback runs is waited for to the end of its chain instead of robbed of its result so
 *       far.
 */

#include "alloc.h"
#include "deferred_inside.h"
#include "failure.h"

/* ---- the result: published, borrowed, taken back ---- */

static bool may_go_on(const pirn_deferred *d) {
    return d->arrived && d->paused == 0 && !d->waits_for;
}

bool pn_deferred_is_settled(const pirn_deferred *deferred) {
    return may_go_on(deferred) && !deferred->running && !deferred->first;
}

/* A borrower's look at a result: it can destroy nothing. The failure is still the owner's. */
static pirn_result view_of(const pirn_result *result) {
    return (pirn_result){.status = result->status, .value = result->value, .failure = result->failure};
}

bool pn_deferred_borrow(pirn_deferred *deferred, pirn_result *out) {
    /* The second look is for two that borrow at once: one of them finds that the other was first. */
    if (pn_below->load(&deferred->outcome) != PN_BORROWED &&
        !pn_below->claim(&deferred->outcome, PN_SETTLED, PN_BORROWED) &&
        pn_below->load(&deferred->outcome) != PN_BORROWED) {
        return false;
    }
    *out = view_of(&deferred->final);
    return true;
}

static void publish(pirn_deferred *d) {
    if (d->viewed) {
        return; /* `final` stands as it was borrowed */
    }
    d->final = d->result;
    d->result = (pirn_result){0};
    pn_below->store(&d->outcome, PN_SETTLED);
}

/* There is more to run: make `result` the result again, or a view of it where `final` is borrowed. */
static void reopen(pirn_deferred *d) {
    if (d->viewed || pn_below->load(&d->outcome) == PN_UNSETTLED) {
        return;
    }
    if (pn_below->claim(&d->outcome, PN_SETTLED, PN_UNSETTLED)) {
        d->result = d->final;
        d->final = (pirn_result){0};
    } else {
        d->viewed = true;
        d->result = view_of(&d->final);
        d->result.failure = pirn_failure_clone(d->final.failure); /* without memory its code must do */
    }
}

/* Whether `result` is nothing but a look at a value that is destroyed with `final`. */
static bool is_mere_view(const pirn_deferred *d) {
    return d->viewed && d->result.status == 0 && !d->result.drop && d->final.drop && d->result.value == d->final.value;
}

static bool is_lent(const pirn_deferred *d) {
    return d->lent.drop && d->result.status == 0 && !d->result.drop && d->result.value == d->lent.value;
}

bool pn_deferred_must_stay(const pirn_deferred *deferred) {
    return is_mere_view(deferred) || is_lent(deferred);
}

bool pn_deferred_lend(pirn_deferred *deferred, pirn_result *out) {
    if (deferred->result.drop) {
        if (deferred->lent.drop) {
            return false;
        }
        deferred->lent = deferred->result;
        deferred->result = view_of(&deferred->lent);
    }
    *out = view_of(&deferred->result);
    return true;
}

/* Before the result is taken to another owner. */
static void refuse_to_move_borrowed(pirn_deferred *d) {
    if (pn_deferred_must_stay(d)) {
        (void)pirn_result_fail(&d->result, PIRN_EBUSY,
                               "the result was awaited by others, who still hold the deferred, and stays with it");
    }
}

void pn_deferred_unshare(pirn_deferred *deferred) {
    pirn_deferred *d = deferred;
    if (!pn_deferred_is_settled(d) || pn_below->load(&d->holds) != 1) {
        return;
    }
    if (d->lent.drop && d->final.status == 0 && !d->final.drop && d->final.value == d->lent.value) {
        d->final.drop = d->lent.drop;
        d->lent = (pirn_result){0};
    }
    if (pn_below->load(&d->outcome) != PN_BORROWED) {
        return;
    }
    if (d->viewed && !is_mere_view(d)) {
        return; /* later callbacks made another result of it: that one is the chain's */
    }
    pirn_result_drop(&d->result);
    d->viewed = false;
    pn_below->store(&d->outcome, PN_SETTLED);
}

void pn_deferred_move(pirn_deferred *deferred, pirn_result *out) {
    PN_DCHECK(pn_deferred_is_settled(deferred));
    pn_deferred_unshare(deferred);
    reopen(deferred);
    refuse_to_move_borrowed(deferred);
    *out = deferred->result;
    deferred->result = (pirn_result){0};
    publish(deferred);
}

static void tell_awaiters(pirn_deferred *d) {
    pn_node *node;
    while ((node = pn_list_pop(&d->awaiters)) != NULL) {
        pn_awaiter *awaiter = PN_CONTAINER_OF(node, pn_awaiter, link);
        d->consumers--;
        awaiter->deliver(awaiter, d);
    }
}

/* ---- waiting for another deferred ---- */

/* Whether `inner` waits, through any number of others, for `d`. Nobody can when nobody waits for `d`: the common case,
 * and what keeps long chains from being walked for each of their links. */
static bool would_wait_for_itself(const pirn_deferred *d, const pirn_deferred *inner) {
    if (inner == d) {
        return true;
    }
    for (const pirn_deferred *each = inner; d->consumers > 0 && each; each = each->waits_for) {
        if (each == d) {
            return true;
        }
    }
    return false;
}

/* What `d` waits for is now outside pirn, and so is what its awaiters wait for. */
static void mark_outside(pirn_deferred *d) {
    d->waits_outside = true;
    PN_LIST_EACH(&d->awaiters, node) {
        pn_waiter *waiter = PN_CONTAINER_OF(node, pn_awaiter, link)->waiter;
        if (waiter) {
            waiter->external = true;
        }
    }
}

static void attach(pirn_deferred *d, pirn_deferred *inner) {
    d->waits_for = inner;
    pn_below->store(&d->fed, 1);
    d->continuation = (pn_link){.kind = PN_LINK_CONTINUE};
    (void)pirn_deferred_retain(d); /* until the result has come: pass_on hands this hold to the run loop */
    if (inner->external || inner->waits_outside) {
        mark_outside(d);
    }
    *inner->end = &d->continuation;
    inner->end = &d->continuation.next;
    inner->consumers++;
    inner->given_up = false;
}

/* ---- an inner deferred of another home: a deferred of this home stands for it ---- */

typedef struct relay_order {
    pn_message message;
    pn_link link;
    pirn_deferred *inner, *relay; /* held                                                                */
} relay_order;

/* At inner's home: its result has come. */
static pirn_deferred *send_to_relay(void *context, pirn_result *result) {
    relay_order *order = context;
    (void)pirn_deferred_settle(order->relay, result);
    pirn_deferred_release(order->relay);
    pirn_deferred_release(order->inner);
    pn_free(order);
    return NULL;
}

static void deliver_relay(pn_message *message) {
    relay_order *order = PN_CONTAINER_OF(message, relay_order, message);
    order->link =
        (pn_link){.on_result = send_to_relay, .on_failure = send_to_relay, .context = order, .kind = PN_LINK_MOVER};
    pn_deferred_add_link(order->inner, &order->link);
}

static void cancel_inner(pirn_deferred *relay, void *inner) {
    (void)relay;
    (void)pirn_deferred_cancel(inner);
}

/* The relay's first callback: it has fired, so its canceller, which needs inner, is over. */
static pirn_deferred *release_inner(void *inner, pirn_result *result) {
    (void)result;
    pirn_deferred_release(inner);
    return NULL;
}

/* Takes over the caller's hold on `inner`; gives one on the relay. NULL: no memory. */
static pirn_deferred *make_relay(pirn_deferred *inner) {
    pirn_deferred *relay = pn_deferred_create_from(-1, cancel_inner, inner, NULL, 0);
    relay_order *order = pn_malloc(sizeof *order);
    if (!relay || !order || pirn_deferred_add_both(relay, release_inner, inner) != 0) {
        pn_free(order);
        pirn_deferred_release(relay);
        pirn_deferred_release(inner);
        return NULL;
    }
    if (inner->external) {
        pn_deferred_set_external(relay);
    }
    relay->producer = inner->producer;
    pn_below->store(&relay->fed, 1);
    *order = (relay_order){
        .message.deliver = deliver_relay, .inner = pirn_deferred_retain(inner), .relay = pirn_deferred_retain(relay)};
    pn_below->post(inner->home, &order->message);
    return relay;
}

/* A callback of `d` returned `inner`, with its hold. */
static void go_on_with(pirn_deferred *d, pirn_deferred *inner) {
    pirn_result_drop(&d->result);
    if (inner->run != d->run) {
        (void)pirn_result_fail(&d->result, PIRN_ECLOSED, "a callback returned a deferred of a runtime that is over");
        pirn_deferred_release(inner);
        return;
    }
    if (inner->home != d->home) {
        inner = make_relay(inner);
    }
    if (!inner) {
        (void)pirn_result_fail(&d->result, PIRN_ENOMEM, "no memory to wait for a deferred of another worker");
    } else if (would_wait_for_itself(d, inner)) {
        (void)pirn_result_fail(&d->result, PIRN_EDEADLK, "a callback returned a deferred that waits for its own");
        pirn_deferred_release(inner);
    } else if (pn_deferred_is_settled(inner)) {
        pn_deferred_move(inner, &d->result);
        pirn_deferred_release(inner);
    } else {
        attach(d, inner);
    }
}

/* ---- the loop ---- */

static pn_link *pop_link(pirn_deferred *d) {
    pn_link *link = d->first;
    d->first = link->next;
    if (!d->first) {
        d->end = &d->first;
    }
    return link;
}

static void call(pirn_deferred *d, pn_link *link) {
    pirn_callback callback = d->result.status == 0 ? link->on_result : link->on_failure;
    void *context = link->context;
    if (link->on_heap) {
        pn_free(link);
    }
    pirn_deferred *inner = callback ? callback(context, &d->result) : NULL; /* may free an embedded link */
    pn_result_refuse_positive(&d->result);
    if (inner) {
        go_on_with(d, inner);
    }
}

static void push(pirn_deferred *d, pirn_deferred *under) {
    PN_ASSERT(!d->running);
    d->running = true;
    d->under = under;
}

/* Run a mover. Returns what it settled: that goes on top, with a hold. */
static pirn_deferred *move(pirn_deferred *top, pn_link *link) {
    if (link->kind == PN_LINK_MOVER) {
        refuse_to_move_borrowed(top);
    }
    return link->on_result(link->context, &top->result); /* may free the link */
}

/* Hand the result of the top one to the one that waits for it, which goes on top with the hold it was kept by. */
static pirn_deferred *pass_on(pirn_deferred *top, pn_link *continuation) {
    pirn_deferred *outer = PN_CONTAINER_OF(continuation, pirn_deferred, continuation);
    PN_ASSERT(outer->waits_for == top);
    outer->result = top->result;
    top->result = (pirn_result){0};
    outer->waits_for = NULL;
    outer->waits_outside = false;
    pirn_deferred_release(top); /* outer's hold on it; the loop has its own */
    return outer;
}

/* Run the top one until it has to wait, ends, or another goes on top. Returns the next top, NULL at the bottom. */
static pirn_deferred *run_top(pirn_deferred *top) {
    while (top->first && may_go_on(top)) {
        pn_link *link = pop_link(top);
        pirn_deferred *next = NULL;
        top->consumers -= link->kind != PN_LINK_CALLBACK;
        if (link->kind == PN_LINK_CALLBACK) {
            call(top, link);
        } else if (link->kind == PN_LINK_CONTINUE) {
            refuse_to_move_borrowed(top);
            next = pass_on(top, link);
        } else {
            next = move(top, link);
        }
        if (next) {
            push(next, top);
            return next;
        }
    }
    pirn_deferred *under = top->under;
    top->running = false;
    if (may_go_on(top)) {
        publish(top);
        tell_awaiters(top);
    }
    pirn_deferred_release(top);
    return under;
}

void pn_deferred_run(pirn_deferred *deferred) {
    bool nothing_new = !deferred->first && pn_below->load(&deferred->outcome) != PN_UNSETTLED;
    if (deferred->running || !may_go_on(deferred) || nothing_new) {
        return;
    }
    bool outer = pn_callback_enter();
    reopen(deferred);
    push(pirn_deferred_retain(deferred), NULL);
    for (pirn_deferred *top = deferred; top;) {
        top = run_top(top);
    }
    pn_callback_leave(outer);
}

void pn_deferred_add_link(pirn_deferred *deferred, pn_link *link) {
    link->next = NULL;
    *deferred->end = link;
    deferred->end = &link->next;
    deferred->consumers += link->kind != PN_LINK_CALLBACK;
    deferred->given_up = false;
    pn_deferred_run(deferred);
}

/* ---- chain ---- */

typedef struct chain_link {
    pn_link link;
    pirn_deferred *source, *target; /* held                                                              */
} chain_link;

/* A target that was cancelled wants no result: it is destroyed. One that fired by other means leaves it with the
 * source, so that chains in a ring lose nothing. */
static pirn_deferred *fire_target(void *context, pirn_result *result) {
    chain_link *chain = context;
    pirn_deferred *next = pn_deferred_settle_next(chain->target, result);
    if (!next && chain->target->cancelling) {
        (void)pirn_deferred_settle(chain->target, result);
    }
    pirn_deferred_release(chain->target);
    pirn_deferred_release(chain->source);
    pn_free(chain);
    return next;
}

int pirn_deferred_chain(pirn_deferred *source, pirn_deferred *target) {
    int error = pn_deferred_require_home(source, "pirn_deferred_chain");
    if (error == 0) {
        error = pn_deferred_require_home(target, "pirn_deferred_chain");
    }
    if (error == 0 && source == target) {
        error = PIRN_EINVAL;
    }
    if (error != 0) {
        return error;
    }
    chain_link *chain = pn_malloc(sizeof *chain);
    if (!chain) {
        return PIRN_ENOMEM;
    }
    *chain = (chain_link){.source = source, .target = target};
    chain->link =
        (pn_link){.on_result = fire_target, .on_failure = fire_target, .context = chain, .kind = PN_LINK_MOVER};
    pn_below->store(&target->fed, 1);
    pn_deferred_unshare(source);
    if (source->external || source->waits_outside) {
        mark_outside(target);
    }
    pn_deferred_add_link(source, &chain->link);
    return 0;
}
