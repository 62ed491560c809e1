/* SPDX-License-Identifier: MIT
 *
 * What: spawn, strike, release and join of tasklets whose home is another worker: a message there, and for spawn and
 *       join an answer back.
 * Threads: each function's first half runs on the asker's worker, its deliver_... half at the target's home.
 * Lifetime: a message is malloc'd by the asker. Strikes and releases are freed where they arrive. A join's record has
 *       two holders, asker and home, and one word that decides who of the two answers for it:
 *           ASKED -> ANSWERED (home: the result is in the record; the asker frees it)
 *           ASKED -> GIVEN_UP (asker: its deadline or a strike came first; the home frees it)
 */

#include "alloc.h"
#include "sched.h"

/* ---- strike and release ---- */

typedef struct order {
    pn_message message;
    pirn_tasklet handle;
    int code;
    bool sticky;
} order;

static void deliver_strike(pn_message *message) {
    order *o = PN_CONTAINER_OF(message, order, message);
    pn_tasklet *target = pn_tasklet_find(pn_sched_self(), o->handle);
    if (target) {
        pn_tasklet_strike(target, o->code, o->sticky, false);
    }
    pn_free(o);
}

static void deliver_release(pn_message *message) {
    order *o = PN_CONTAINER_OF(message, order, message);
    (void)pn_tasklet_release(pn_sched_self(), o->handle);
    pn_free(o);
}

static int send_order(pirn_tasklet handle, int code, bool sticky, void (*deliver)(pn_message *)) {
    order *o = pn_malloc(sizeof *o);
    if (!o) {
        return PIRN_ENOMEM;
    }
    *o = (order){.message.deliver = deliver, .handle = handle, .code = code, .sticky = sticky};
    pn_below->post(pn_handle_home(handle), &o->message);
    return 0;
}

int pn_remote_strike(pirn_tasklet handle, int code, bool sticky) {
    return send_order(handle, code, sticky, deliver_strike);
}

int pn_remote_release(pirn_tasklet handle) {
    return send_order(handle, 0, false, deliver_release);
}

/* ---- spawn ---- */

/* On the asker's stack: it waits, shielded and without a deadline, so the frame outlives the exchange. */
typedef struct birth {
    pn_message message;
    pn_waiter *waiter;
    unsigned asker;
    const pirn_spawn_options *options;
    pirn_fn fn;
    void *arg;
    const char *function, *file;
    int line;
    pirn_tasklet handle;
} birth;

static void deliver_born(pn_message *message) {
    pn_waiter_complete(PN_CONTAINER_OF(message, birth, message)->waiter);
}

static void deliver_birth(pn_message *message) {
    birth *b = PN_CONTAINER_OF(message, birth, message);
    pn_tasklet *tasklet = pn_tasklet_spawn(pn_sched_self(), b->options, b->fn, b->arg, b->file, b->line);
    if (tasklet) {
        tasklet->function = b->function;
    }
    b->handle = tasklet ? pn_tasklet_handle(tasklet) : (pirn_tasklet){0};
    b->message.deliver = deliver_born;
    pn_below->post(b->asker, &b->message);
}

pirn_tasklet pn_remote_spawn(unsigned home, const pirn_spawn_options *options, pirn_fn fn, void *arg,
                             const char *function, const char *file, int line) {
    if (!pn_current()) {
        pn_warn("pirn_spawn_with() for another worker from a callback: only a tasklet can wait for its answer.");
        return (pirn_tasklet){0};
    }
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_WORKERS, NULL);
    birth b = {.message.deliver = deliver_birth,
               .waiter = &waiter,
               .asker = pn_sched_self()->options.id,
               .options = options,
               .fn = fn,
               .arg = arg,
               .function = function,
               .file = file,
               .line = line};
    pn_firm_shield_enter();
    pn_below->post(home, &b.message);
    int error = pn_wait(&waiter, PIRN_FOREVER, NULL);
    pn_firm_shield_leave();
    PN_ASSERT(error == 0);
    return b.handle;
}

/* ---- join ---- */

enum { ASKED, ANSWERED, GIVEN_UP };

struct pn_remote_join {
    pn_message message; /* there, and back                                                               */
    pn_message give_up; /* there, after GIVEN_UP: lets the home forget us at once                         */
    pn_word word;       /* either: see above                                                             */
    unsigned asker;     /* immutable                                                                     */
    pirn_tasklet handle;
    pn_waiter *waiter; /* asker only                                                                    */
    int error, result; /* home until ANSWERED, then asker                                               */
};

static void deliver_answer(pn_message *message) {
    pn_waiter_complete(PN_CONTAINER_OF(message, struct pn_remote_join, message)->waiter);
}

static bool answer(struct pn_remote_join *join, int error, int result) {
    join->error = error;
    join->result = result;
    if (!pn_below->claim(&join->word, ASKED, ANSWERED)) {
        return false; /* the give_up message is on its way here, and frees it */
    }
    join->message.deliver = deliver_answer;
    pn_below->post(join->asker, &join->message);
    return true;
}

bool pn_remote_join_answer(struct pn_remote_join *join, int result) {
    return answer(join, 0, result);
}

static void deliver_join(pn_message *message) {
    struct pn_remote_join *join = PN_CONTAINER_OF(message, struct pn_remote_join, message);
    pn_tasklet *target = pn_tasklet_find(pn_sched_self(), join->handle);
    if (!target) {
        (void)answer(join, PIRN_EDEAD, 0);
    } else if ((target->flags & PIRN_JOINABLE) == 0) {
        (void)answer(join, PIRN_EINVAL, 0);
    } else if (target->joiner || target->remote_joiner) {
        (void)answer(join, PIRN_EBUSY, 0);
    } else if (target->state != PN_ENDED) {
        target->remote_joiner = join;
    } else if (answer(join, 0, target->result)) {
        pn_tasklet_free(target);
    }
}

static void deliver_give_up(pn_message *message) {
    struct pn_remote_join *join = PN_CONTAINER_OF(message, struct pn_remote_join, give_up);
    pn_tasklet *target = pn_tasklet_find(pn_sched_self(), join->handle);
    if (target && target->remote_joiner == join) {
        target->remote_joiner = NULL;
    }
    pn_free(join);
}

/* The deadline or a strike at the asker's home. */
static bool withdraw_join(pn_waiter *waiter) {
    struct pn_remote_join *join = (struct pn_remote_join *)(uintptr_t)waiter->object;
    if (!pn_below->claim(&join->word, ASKED, GIVEN_UP)) {
        return false;
    }
    join->give_up.deliver = deliver_give_up;
    pn_below->post(pn_handle_home(join->handle), &join->give_up);
    return true;
}

int pn_remote_join(pirn_tasklet handle, int *result, pirn_time deadline) {
    if (deadline == PIRN_NOW) {
        return PIRN_EAGAIN; /* the answer is a message away: to get it one must park */
    }
    struct pn_remote_join *join = pn_calloc(1, sizeof *join);
    if (!join) {
        return PIRN_ENOMEM;
    }
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_JOIN, join);
    waiter.detail = handle.id;
    waiter.withdraw = withdraw_join;
    join->asker = pn_sched_self()->options.id;
    join->handle = handle;
    join->waiter = &waiter;
    join->message.deliver = deliver_join;
    pn_below->post(pn_handle_home(handle), &join->message);
    int error = pn_wait(&waiter, deadline, NULL);
    if (error != 0) {
        return error; /* GIVEN_UP: the home frees the record */
    }
    error = join->error;
    if (error == 0 && result) {
        *result = join->result;
    }
    pn_free(join);
    return error;
}
