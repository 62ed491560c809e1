/* SPDX-License-Identifier: MIT
 *
 * What: the reactor itself: the libuv loop beside a driver, on a thread of its own (threaded) or on worker 0's
 *       (single).
 * Threads: open and close on the thread that runs it; the messages from any.
 * States: open -> (refuse) -> (stop: threaded) -> closed.
 */
#ifndef PN_REACTOR_H
#define PN_REACTOR_H

#include "loop.h"

typedef struct pn_reactor {
    pn_loop *loop;
    pn_driver own_driver; /* threaded; single mode uses worker 0's                                      */
    pn_driver *driver;
    bool stop; /* leave pn_reactor_run                                                      */
} pn_reactor;

/* The one reactor of the running runtime; its loop is touched on the reactor's thread only. */
extern pn_reactor pn_reactor_current;

/* Open the loop inside `driver`; NULL: inside a driver of its own, which performs socket records when `sockets`. 0 or a
 * code. */
int pn_reactor_open(pn_driver *driver, bool sockets);
/* Close what is left of handles and the loop. Every request was refused and has finished before
 * (pn_requests_refuse). */
void pn_reactor_close(void);

/* The reactor thread's life: turns until `stop`. */
void pn_reactor_run(void);

#endif
