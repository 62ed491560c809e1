/* SPDX-License-Identifier: MIT
 *
 * What: the one lock-free structure of pirn: an intrusive stack of messages, pushed by many, taken whole. The inbox
 *       makes a queue of it. Two builds of one interface, chosen by CMake (PIRN_QUEUES): lf_stack_ck.c on Concurrency
 *       Kit, and lf_stack_c11.c on C11 atomics, which ThreadSanitizer and model checkers can see into.
 * Threads: push and empty: any; take: any, one owner in practice (`_upmc`: many producers of unique nodes, many
 *       takers).
 * Invariants: (1) a message is in one stack at a time; (2) between push and take nobody but the stack touches
 *       `message->next`; (3) what a thread wrote before it pushed a message is seen by whoever took that message.
 * Progress: take never loops. A push loops only when another push or take succeeded in between, so somebody always
 *       advances; it never waits for a thread that was preempted.
 * No ABA: nodes are never popped one by one. A push whose comparison succeeds links to the node that is on top at that
 *       moment, and this is right whether or not that node left and came back in between.
 * Rejected: ck_ring_mpsc (a bound, and producers wait for one another to publish); ck_fifo_mpmc and pop_mpmc (faults in
 *       0.7.1); a lock (a preempted holder delays the reactor).
 */
#ifndef PN_LF_STACK_H
#define PN_LF_STACK_H

#include <stdbool.h>

#include "hooks.h"

/* Put the chain top -> ... -> bottom (through `next`; bottom's is overwritten) on `*stack` at once. One message: top ==
 * bottom. The caller gives all of it away. */
void pn_lf_stack_push_upmc(void **stack, pn_message *top, pn_message *bottom);

/* Take all there is, newest first, ended by NULL. NULL when it was empty. */
pn_message *pn_lf_stack_take_upmc(void **stack);

/* Whether there was nothing at a moment during this call. Orders nothing: the caller brings its own fence
 * (doorbell.h). */
bool pn_lf_stack_empty(void *const *stack);

/* "ck" or "c11": which build this is. */
const char *pn_lf_stack_kind(void);

#endif
