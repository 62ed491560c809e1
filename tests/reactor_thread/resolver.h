/* SPDX-License-Identifier: MIT
 *
 * What: the system's resolver with two more names: "loop.pirn.test" is 127.0.0.1, and "stuck.pirn.test" never comes
 *       back, as where the name server is dead. All other names go to the C library.
 */
#ifndef REACTOR_RESOLVER_H
#define REACTOR_RESOLVER_H

/* Lookups of the stuck name under way now. */
unsigned resolver_stuck(void);

#endif
