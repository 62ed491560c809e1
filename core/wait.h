/* SPDX-License-Identifier: MIT
 *
 * What: the waiter, the one way a tasklet blocks. Every blocking call in pirn is: make a waiter on the stack, make it
 *       known to whoever may end the wait, pn_wait(), look at the outcome.
 *
 * Threads: a waiter belongs to its tasklet's home. Others may touch it only after they claimed it and until they made
 *       the tasklet ready, or under the lock of the channel in whose queue one of its clauses stands.
 *
 * Exactly once. `word` is the completion token: PN_OPEN until one party claims it with an outcome. The parties are a
 *       peer (the operation happened), the deadline timer, and a cancel or throw. A waiter that other workers can see
 *       is `shared`, and its word is changed by compare-and-swap (pn_below->claim); a local one by plain stores.
 *
 * Two kinds of waits, told apart by `withdraw`:
 *   on pirn's own objects (NULL): the deadline or cancel claims the word itself; when it wins, `unlink` takes the
 *       waiter's clauses out of their queues at once, so a balance drops before the tasklet runs;
 *   on a record (set): the deadline or cancel asks `withdraw`; true means the record is back and the wait ends now,
 *       false that the performer is at it: the tasklet stays parked for the completion, and that result wins.
 *
 * States of a waiter: open -> claimed (by outcome) -> its tasklet made ready -> gone with its stack frame.
 * Parking has no window: claims from elsewhere become messages to the home's inbox, which is read only between
 *       tasklets.
 */
#ifndef PN_WAIT_H
#define PN_WAIT_H

#include "hooks.h"
#include "timer.h"

typedef struct pn_tasklet pn_tasklet;
typedef struct pn_waiter pn_waiter;

/* What a parked tasklet waits on: unique strings, and the first question of every report. */
typedef enum pn_reason {
    PN_ON_NOTHING,
    PN_ON_SLEEP,
    PN_ON_SEND,     /* object: pirn_channel                                                              */
    PN_ON_RECV,     /* object: pirn_channel                                                              */
    PN_ON_SELECT,   /* object: the cases; detail: how many                                               */
    PN_ON_JOIN,     /* detail: the tasklet's id                                                          */
    PN_ON_DEFERRED, /* object: pirn_deferred                                                             */
    PN_ON_READ,     /* detail: descriptor number                                                         */
    PN_ON_WRITE,
    PN_ON_ACCEPT,
    PN_ON_CONNECT,
    PN_ON_READY,   /* pirn_fd_wait                                                                      */
    PN_ON_WORKERS, /* answers of other workers (inspect, listener close)                                */
    PN_REASON_COUNT
} pn_reason;

const char *pn_reason_name(pn_reason reason);
/* Whether only tasklets can end such a wait (channels, joins): the ones a deadlock report speaks of. */
bool pn_reason_is_internal(pn_reason reason);

/* Outcomes: the value of `word`. A peer claims with PN_DONE + the index of its clause. */
enum { PN_OPEN = 0, PN_TIMED_OUT = 1, PN_STRUCK = 2, PN_DONE = 16 };

struct pn_waiter {
    pn_word word;
    pn_tasklet *tasklet;
    pn_reason reason;
    bool shared;                         /* word may be claimed by another thread                       */
    bool external;                       /* something outside pirn can end it: not a deadlock           */
    int code;                            /* of a strike: what the wait returns                          */
    const void *object;                  /* for reports                                                 */
    uint64_t detail;                     /* for reports                                                 */
    bool (*withdraw)(pn_waiter *waiter); /* record waits: see above                                     */
    void (*unlink)(pn_waiter *waiter);   /* own-object waits: leave all queues; NULL: nothing to leave  */
    pn_timer timer;
};

/* Make `waiter` the calling tasklet's, open, for `reason`. Owner thread, in a tasklet. */
void pn_waiter_init(pn_waiter *waiter, pn_reason reason, const void *object);

/* Park until the waiter is claimed. Returns PN_DONE + i as 0-based `*clause` (NULL allowed) and 0; or PIRN_ETIMEDOUT
 * (PIRN_EAGAIN for PIRN_NOW), PIRN_ECANCELED, a thrown code, PIRN_EDEADLK: then the waiter is out of every queue. A
 * waiter that a peer elsewhere has claimed meanwhile parks all the same: its "ready" is on the way and belongs to this
 * wait. A tasklet already cancelled (and not shielded) does not park: the wait is withdrawn or unlinked first, and if
 * that loses, its result wins. The caller has checked pn_may_wait() before it made itself known anywhere. */
int pn_wait(pn_waiter *waiter, pirn_time deadline, uint32_t *clause);

/* Before any side effect of a call that can park: 0; the strike that is due (PIRN_ECANCELED or the thrown code, which
 * this consumes); PIRN_ETHREAD with one line naming `call` and what to use instead when no tasklet runs here. With
 * `deadline` PIRN_NOW the call will not park: always 0 (clean-up code of a cancelled tasklet may still try). */
int pn_may_wait(const char *call, pirn_time deadline);
/* The same for a call that is shielded and has no deadline: 0, or PIRN_ETHREAD with the line. */
int pn_require_tasklet(const char *call);

/* A peer's claim of an open waiter with PN_DONE + clause. True: the caller must fill in results, then
 * pn_waiter_ready(). Owner of the object the clause stands in (lock held, if it has one). */
bool pn_waiter_claim(pn_waiter *waiter, uint32_t clause);

/* After a successful claim: make the tasklet ready at its home (here: last in the run queue; elsewhere: by message).
 * The caller must not touch the waiter any more, unless the tasklet's home is the caller's. */
void pn_waiter_ready(pn_waiter *waiter);
/* Home: whether nobody has ended the wait yet. A peer elsewhere may have, and then its "ready" is on the way. */
bool pn_waiter_is_open(const pn_waiter *waiter);
/* Whether the waiter's tasklet lives on the calling thread. */
bool pn_waiter_is_here(const pn_waiter *waiter);

/* Home: a record wait's completion has arrived: claims and readies in one. */
void pn_waiter_complete(pn_waiter *waiter);

/* After pn_wait: whether its deadline ended it, and no strike with the same code. */
bool pn_waiter_timed_out(const pn_waiter *waiter);
/* After pn_wait: whether a cancel or a throw ended it. */
bool pn_waiter_was_struck(const pn_waiter *waiter);

/* "receive on chat", "read of descriptor 12": what it waits on, for reports. `text` is returned. */
const char *pn_waiter_describe(const pn_waiter *waiter, char *text, size_t text_bytes);

/* Home: end the wait of a parked tasklet early with `code` (cancel, throw, deadlock). False when the result wins. */
bool pn_waiter_strike(pn_waiter *waiter, int code);

#endif
