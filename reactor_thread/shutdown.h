/* SPDX-License-Identifier: MIT
 *
 * What: the end of a runtime, from main's return to the moment when every thread may go.
 * Threads: the main tasklet.
 */
#ifndef PN_SHUTDOWN_H
#define PN_SHUTDOWN_H

/* In the main tasklet, after main's function has returned: stop accepting, drain, cancel, stop the services, wait until
 * no message is under way, and tell workers and reactor to leave. Parks. */
void pn_shutdown(void);

/* In the main tasklet, when main's function has returned and its clean-ups begin: they are bounded, too. */
void pn_shutdown_begin_bound(void);

/* On worker 0, where there is no main tasklet to do the above: stop the services and tell all to leave. For a runtime
 * in which nothing has run yet. */
void pn_shutdown_unused(void);

#endif
