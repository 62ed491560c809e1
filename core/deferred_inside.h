/* SPDX-License-Identifier: MIT
 *
 * What: the deferred's struct and what its files share: deferred.c (life, fire, cancel), deferred_run.c (the chain),
 *       deferred_await.c, deferred_list.c, deferred_deadline.c. Nobody else includes this; others have core/deferred.h.
 *
 * Threads: a struct of three parts, by who may touch it. Chain, callbacks and awaiters are plain memory of the home.
 *       The words are everybody's, through pn_below. `arriving` belongs to whoever claimed `fired`, until its message
 *       is delivered.
 *
 * Three words:
 *   holds    how many have it; the one that gives up the last, anywhere, has it destroyed at home.
 *   fired    UNFIRED -> FIRED by a fire, or UNFIRED -> SWALLOW -> FIRED by a cancel without canceller, which lets one
 *            late fire end as a success that goes nowhere.
 *   outcome  UNSETTLED <-> SETTLED -> BORROWED. The home publishes `final` with SETTLED, and may claim it back to run
 *            callbacks that were added later. An await, on any thread, claims BORROWED and may read `final` from then
 *            on until its hold is gone: so BORROWED is for good, and later callbacks run on a view of it.
 *
 * Invariants (home): (1) SETTLED or BORROWED: no awaiter is linked; (2) `waits_for` is set exactly while `continuation`
 *       stands in that deferred's chain; (3) `running`: it is on the stack of the run loop, which holds it; (4)
 *       consumers == awaiters + links in the chain that are not callbacks.
 * Rejected: a result that is always frozen at the end of the chain (a callback added late could then not take its
 *       value, and Twisted's succeed(x).addCallback(f) is written everywhere); reference-counted values (the user's
 *       destructor knows the value only).
 */
#ifndef PN_DEFERRED_INSIDE_H
#define PN_DEFERRED_INSIDE_H

#include "deferred.h"
#include "list.h"
#include "sched.h"

typedef enum pn_link_kind {
    PN_LINK_CALLBACK, /* sees the result                                                                 */
    PN_LINK_MOVER,    /* ours: takes the result to another owner; both halves set. It returns, held, a    *
                       * deferred that it settled (pn_deferred_settle_next), which runs next; or NULL    */
    PN_LINK_GATHER,   /* a mover to a list or a race, which may leave the result where it is             */
    PN_LINK_CONTINUE, /* the `continuation` of a deferred that waits for this one                        */
} pn_link_kind;

/* One pair of a chain. */
typedef struct pn_link {
    struct pn_link *next;
    pirn_callback on_result, on_failure;
    void *context;
    pn_link_kind kind;
    bool on_heap; /* else part of what `context` points to                                               */
} pn_link;

/* One await that has parked. `deliver` runs once, at home, when there is a result; the awaiter is unlinked then. */
typedef struct pn_awaiter {
    pn_node link;
    pn_waiter *waiter; /* of a tasklet of this home; NULL: elsewhere                                     */
    void (*deliver)(struct pn_awaiter *awaiter, pirn_deferred *deferred);
} pn_awaiter;

/* A cancel that goes on to several deferreds, one after the other: a list's or a race's. */
typedef struct pn_fan {
    struct pn_fan *under; /* while active: the one whose turn comes afterwards                           */
    bool active;          /* its deferreds are being cancelled                                           */
    /* The next to cancel. NULL: there is none any more; the fan is then no longer active and may be gone. */
    pirn_deferred *(*next)(struct pn_fan *fan);
} pn_fan;

enum { PN_UNFIRED, PN_FIRED, PN_SWALLOW };
enum { PN_UNSETTLED, PN_SETTLED, PN_BORROWED };

struct pirn_deferred {
    /* immutable once it is given to anybody */
    unsigned home;
    uint32_t run;       /* of the runtime that its home belongs to: the next one's worker of that number is not it */
    bool external;      /* something outside pirn's tasklets fires it                                         */
    bool birth_counted; /* its first message is one of a foreign thread's (pn_below->reserve)            */
    bool patient;       /* a cancel only asks: its producer fires it in its own time                         */
    int line;
    const char *file;
    uint64_t producer; /* the tasklet that will fire it, or PN_SOMEBODY; 0: not known                   */
    pirn_canceller canceller;
    void *cancel_context;
    pn_fan *fan; /* in the place of a canceller; valid until it has fired                                */
    void (*source_arrived)(void *context); /* see pn_deferred_set_source; with cancel_context             */
    /* any thread, through the hooks: see above */
    pn_word holds, fired, outcome;
    pn_word fed;         /* 1: another deferred fires it: for reports                                          */
    pn_message lifeline; /* born (while a hold of its own keeps it), later the last release: never both at once */
    pn_message arrival;  /* fired elsewhere                                                              */
    pirn_result arriving;
    pirn_result final; /* home while UNSETTLED; immutable while BORROWED                               */
    /* home only */
    pirn_result result; /* of the chain so far; with `viewed`: a view of `final` or what came of it     */
    pirn_result lent;   /* a success that lists look at: they hold the deferred, and `result` is a view of it */
    unsigned gathers;   /* links of lists and races in the chain                                           */
    const void *listed; /* while a list is made: by which, and as which of its members                   */
    size_t listed_as;
    pn_link *first, **end;
    pn_link continuation;
    pirn_deferred *waits_for; /* held                                                                    */
    pirn_deferred *under;     /* on the run loop's stack                                                 */
    pn_list awaiters;
    unsigned paused, consumers;
    bool arrived; /* `result` or `final` is there                                                 */
    bool running, viewed;
    bool cancelling;    /* the canceller was asked                                                      */
    bool given_up;      /* the last wait for it ended early, and nobody came after                      */
    bool waits_outside; /* as external, but learnt later: it waits for an external one                   */
};

static inline bool pn_deferred_is_home(const pirn_deferred *deferred) {
    const pn_sched *sched = pn_sched_self();
    return sched && sched->options.id == deferred->home && sched->options.run == deferred->run;
}

/* Whether its runtime is over: it has no home any more. Any thread; false holds on for a worker of that runtime. */
bool pn_deferred_is_stale(const pirn_deferred *deferred);

/* 0 at home; else a line, and PIRN_ECLOSED (its runtime is over) or PIRN_ETHREAD. Any thread. */
int pn_deferred_require_home(const pirn_deferred *deferred, const char *call);

/* The rest is the home's. */

/* Append; runs it now when there is a result. */
void pn_deferred_add_link(pirn_deferred *deferred, pn_link *link);

/* Run what can run. */
void pn_deferred_run(pirn_deferred *deferred);

/* Whether it has a result that nothing outstanding would change. */
bool pn_deferred_is_settled(const pirn_deferred *deferred);

/* Take the result of a settled one away; it goes on with a successful nothing. A borrowed one whose value somebody must
 * destroy gives the failure PIRN_EBUSY, unless the caller's hold is the last. */
void pn_deferred_move(pirn_deferred *deferred, pirn_result *out);

/* If the caller's hold is the last one, nobody borrows any more: make the result whole again. */
void pn_deferred_unshare(pirn_deferred *deferred);

/* Take over `*result`, zero it, and return `deferred` with a hold more: the mover that calls this returns it, so that
 * it runs without recursion. NULL: it had a result, and `*result` is left alone. */
pirn_deferred *pn_deferred_settle_next(pirn_deferred *deferred, pirn_result *result);

/* In a gather's link: whether the result must stay with `deferred`, because others look at it. */
bool pn_deferred_must_stay(const pirn_deferred *deferred);
/* And look at it in `out`, for as long as a hold on `deferred` is kept. False: it already lends another value. */
bool pn_deferred_lend(pirn_deferred *deferred, pirn_result *out);

void pn_deferred_cancel_here(pirn_deferred *deferred);
void pn_deferred_cancel_fan(pn_fan *fan);

/* A wait for it has ended early. When it was the last: a failure that comes later, or came meanwhile, is nobody's and
 * is not reported; and with `cancel` it is cancelled. */
void pn_deferred_give_up_here(pirn_deferred *deferred, bool cancel);

/* The same with a cancel, here or by message. Any thread. */
void pn_deferred_cancel_unwanted(pirn_deferred *deferred);

/* Borrow the result if there is one. Any thread. `out->drop` is NULL and `out->failure` the deferred's. */
bool pn_deferred_borrow(pirn_deferred *deferred, pirn_result *out);

#endif
