/* SPDX-License-Identifier: MIT
 *
 * What: one request of a worker to the reactor and its way back: the base of timers, names, signals and HTTP fetches.
 *
 * The way: pn_request_submit() at home makes the deferred and posts `ask`; the reactor runs begin(); whatever completes
 *       it calls pn_request_finish(), which settles the deferred with `result`: a message to the home. Cancelling the
 *       deferred posts `withdraw`; the reactor runs stop() if the request is still under way.
 * Threads: submit: a worker. begin, stop and finish: the reactor's. destroy: either.
 * States (reactor): asked -> begun -> finished. stop() comes at most once, between begun and finished.
 * Invariants: (1) every request submitted is finished exactly once, at the latest when the reactor refuses further
 *       services; (2) no message is allocated: submitting, cancelling and completing cannot fail after submit returned;
 *       (3) finish is the last touch by the reactor's side.
 * Lifetime: counted, three holds: the reactor's until finish; the home's until the deferred has a result (only until
 *       then may its canceller run); one for a `withdraw` under way. The last one destroys.
 */
#ifndef PN_REQUEST_H
#define PN_REQUEST_H

#include <pirn/deferred.h>

#include "hooks.h"
#include "list.h"

typedef struct pn_request pn_request;

typedef struct pn_request_kind {
    const char *name; /* of the public call, for the failure at a shutdown                               */
    /* Reactor: start it. May finish it at once. */
    void (*begin)(pn_request *request);
    /* Reactor: give it up. `result` is already set to the failure it shall have; must lead to pn_request_finish(), now
     * or in a callback. */
    void (*stop)(pn_request *request);
    /* Whoever gave up the last hold: free what it owns and itself. */
    void (*destroy)(pn_request *request);
} pn_request_kind;

struct pn_request {
    /* immutable after submit */
    const pn_request_kind *kind;
    pirn_deferred *deferred;
    /* home only */
    bool withdrawn;
    /* from home to the reactor */
    pn_message ask, withdraw;
    pn_word holds;
    /* reactor only */
    pn_node link; /* in the list of those under way                                               */
    bool stopped;
    pirn_result result; /* what finish will settle with                                                 */
};

/* Submit `request` (zeroed, its own fields filled in). Returns its deferred, the caller's hold; NULL when there is no
 * memory or no worker here: then the request was destroyed. */
pirn_deferred *pn_request_submit(pn_request *request, const pn_request_kind *kind, const char *file, int line);

/* Reactor: it is over; `request->result` is what it came to. The request may be gone afterwards. */
void pn_request_finish(pn_request *request);

/* Reactor: stop all that are under way and refuse new ones from now on, each with PIRN_ECLOSED. */
void pn_requests_refuse(void);
/* Reactor: whether one is under way. */
bool pn_requests_under_way(void);
/* Reactor: serve again, for the next runtime of this process. None may be under way. */
void pn_requests_reset(void);

#endif
