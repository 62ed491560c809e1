/* SPDX-License-Identifier: MIT
 *
 * What: the end of the threads that look up names.
 * Threads: the reactor's.
 */
#ifndef PN_RESOLVE_H
#define PN_RESOLVE_H

/* No tasklet is left, and the offload pools were stopped. */
void pn_resolver_fini(void);

#endif
