/* SPDX-License-Identifier: MIT
 *
 * What: what keeps a stack from growing into its neighbour: the kinds of guard and the mappings they cost.
 * Threads: any; the kind is chosen once by pn_stack_setup (stack.h), the budget is one for the process.
 */
#ifndef PN_STACK_GUARD_H
#define PN_STACK_GUARD_H

#include "stack.h"

/* Set mappings aside for the guards of `stacks` stacks. False, and said once on stderr, when that kind has a budget
 * and it is spent. */
bool pn_guard_reserve(pirn_guard guard, uint32_t stacks);
void pn_guard_release(pirn_guard guard, uint32_t stacks);

/* Guard the PN_STACK_GUARD_BYTES at `at`, and let the `stack_bytes` above them be used, for the life of the mapping.
 * False when the system refuses. */
bool pn_guard_install(pirn_guard guard, void *at, size_t stack_bytes);

/* (Re)write the canary of a stack that has one. */
void pn_guard_write_canary(const pn_stack *stack);

#endif
