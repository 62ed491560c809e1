/* SPDX-License-Identifier: MIT
 *
 * What: lf_stack.h on C11 atomics: the twin of lf_stack_ck.c that sanitizers and model checkers understand.
 * Threads: any.
 * Invariants: the `top` word of an inbox is only ever touched here, always as an atomic pointer.
 */
#include "lf_stack.h"

#include <stdatomic.h>

typedef _Atomic(void *) atomic_top;

_Static_assert(sizeof(atomic_top) == sizeof(void *), "an atomic pointer is a pointer's size");

static atomic_top *top_of(void *const *stack) {
    return (atomic_top *)(void *)(uintptr_t)stack;
}

void pn_lf_stack_push_upmc(void **stack, pn_message *top, pn_message *bottom) {
    /* relaxed: only a guess for the comparison below, nothing is read through it. */
    void *head = atomic_load_explicit(top_of(stack), memory_order_relaxed);
    do {
        bottom->next = head;
        /* release: publishes the chain's links and all that its messages hold; pairs with the acquire in
         * pn_lf_stack_take_upmc. A failed try publishes nothing and reads nothing through `head`: relaxed. Messages
         * below keep their own publication: this operation continues the release sequences of the pushes that it builds
         * on. */
    } while (
        !atomic_compare_exchange_weak_explicit(top_of(stack), &head, top, memory_order_release, memory_order_relaxed));
}

pn_message *pn_lf_stack_take_upmc(void **stack) {
    /* acquire: sees all that was pushed up to the head taken here; pairs with the release in pn_lf_stack_push_upmc. It
     * publishes nothing: a message goes back to a producer by other ways. */
    return atomic_exchange_explicit(top_of(stack), NULL, memory_order_acquire);
}

bool pn_lf_stack_empty(void *const *stack) {
    /* relaxed: ordered by the caller's fence (pn_doorbell_sleep in doorbell.c), or a stale answer is good enough. */
    return atomic_load_explicit(top_of(stack), memory_order_relaxed) == NULL;
}

const char *pn_lf_stack_kind(void) {
    return "c11";
}
