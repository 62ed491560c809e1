/* SPDX-License-Identifier: MIT
 *
 * What: the system's resolver with more names: "loop.pirn.test" and "LOOP.pirn.test" are 127.0.0.1, "slow.pirn.test"
 *       is, too, after 300 ms; "many.pirn.test" has twelve addresses, of which 127.0.0.1 is the last; those that begin
 *       with "stuck" never come back, as where the name server is dead. All other names go to the C library.
 */
#ifndef REACTOR_RESOLVER_H
#define REACTOR_RESOLVER_H

/* Lookups of the stuck name under way now. */
unsigned resolver_stuck(void);
/* Calls so far; and those from a thread that is none of those for name lookups. */
unsigned resolver_calls(void);
unsigned resolver_calls_elsewhere(void);

#endif
