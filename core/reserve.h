/* SPDX-License-Identifier: MIT
 *
 * What: address space from the system, and the line for when the system refuses it: which limit it was, and the cure.
 * Threads: any.
 */
#ifndef PN_RESERVE_H
#define PN_RESERVE_H

#include "base.h"

/* `bytes` of private zeroed memory that nobody may touch yet (pn_reserve_allow) or, if `usable`, may be used at once.
 * No swap is set aside. With locked memory (mlockall) what may be used is in memory from the start, what nobody may
 * touch is not. NULL: the system refuses, and errno says why. */
void *pn_reserve(size_t bytes, bool usable);
/* Make a part of it usable: whole pages. False: the system refuses, and errno says why. */
bool pn_reserve_allow(void *at, size_t bytes);

/* Once, before the threads start: where RLIMIT_AS is set, malloc's arenas take a quarter of it at most. Each thread
 * gets one by default, of 64 MiB of addresses, and eight would leave no room for stacks. */
void pn_reserve_setup(void);

/* One line: `what` of `bytes` was refused with the system's code `error`, the limit that is in the way, and the cure.
 * The caller keeps it from coming too often. */
void pn_reserve_tell(const char *what, size_t bytes, int error);

#endif
