/* SPDX-License-Identifier: MIT
 *
 * What: the threads pirn starts: named, with asynchronous signals blocked (but the watchdog's), and a role for "wrong
 *       thread" lines.
 * Threads: any.
 */
#ifndef PN_THREAD_H
#define PN_THREAD_H

#include <pthread.h>
#include <signal.h>

typedef enum pn_role { PN_FOREIGN, PN_WORKER, PN_REACTOR, PN_OFFLOAD, PN_WATCHDOG } pn_role;

/* The one asynchronous signal that workers and the reactor leave unblocked: the watchdog asks with it for a stack. */
#define PN_WATCHDOG_SIGNAL (SIGRTMIN + 5)

/* Start a thread called `name` (cut at 15 bytes) with all signals blocked but synchronous faults and, for a worker or
 * the reactor, the watchdog's. 0; PIRN_ENOMEM; PIRN_ELIMIT, after a line
 * that names the limits; or the system's code. */
int pn_thread_start(pthread_t *thread, pn_role role, const char *name, void *(*main)(void *), void *arg);
void pn_thread_set_role(pn_role role); /* of the calling thread */
pn_role pn_thread_role(void);
/* What a thread of that role blocks: everything that does not come from its own instructions, but for a worker or the
 * reactor the watchdog's signal. */
void pn_thread_mask(pn_role role, sigset_t *mask);
const char *pn_thread_role_text(void); /* "an offload thread", ... */

#endif
