/* SPDX-License-Identifier: MIT
 *
 * What: lf_stack.h on Concurrency Kit 0.7.1: push_upmc and batch_pop_upmc, the parts of its stack without known faults.
 * Threads: any.
 * Invariants: the first word of a pn_message is its `next`, as in a ck_stack_entry (checked below). ck writes it as a
 *       pointer of its own type; nothing in this file reads it as ours except after the take, and this file must not
 *       take part in link-time optimisation, which could see both types at once.
 * Only the `head` word of a ck_stack is used by these two functions; `generation` belongs to pop_mpmc, which nobody
 *       calls, so an inbox has room for `head` alone.
 * TSan: each message is published before the push and observed after the take (lf_annotate.h).
 */
#include "lf_stack.h"

#include <ck_pr.h>
#include <ck_stack.h>

#include "lf_annotate.h"

#if defined(__aarch64__) && defined(CK_MD_TSO)
#error "this ck_md.h was made for another machine: its fences would be no fences here (use -DPIRN_QUEUES=c11)"
#endif

_Static_assert(offsetof(pn_message, next) == offsetof(ck_stack_entry_t, next), "a message begins like a ck entry");
_Static_assert(sizeof(((pn_message *)0)->next) == sizeof(ck_stack_entry_t), "a ck entry is one pointer");
_Static_assert(offsetof(ck_stack_t, head) == 0, "a ck stack begins with its head");

static ck_stack_t *ck_of(void **stack) {
    return (ck_stack_t *)(void *)stack;
}

/* ck has no push of a chain: this is its push_upmc with two ends. The store fence orders the links, and all that the
 * caller wrote into the messages, before the new head; it pairs with the load fence in ck_stack_batch_pop_upmc. */
static void push_chain(ck_stack_t *stack, ck_stack_entry_t *top, ck_stack_entry_t *bottom) {
    ck_stack_entry_t *head = ck_pr_load_ptr(&stack->head);
    do {
        bottom->next = head;
        ck_pr_fence_store();
    } while (!ck_pr_cas_ptr_value(&stack->head, head, top, &head));
}

void pn_lf_stack_push_upmc(void **stack, pn_message *top, pn_message *bottom) {
    for (pn_message *message = top; message != bottom; message = message->next) {
        pn_annotate_publish(message);
    }
    pn_annotate_publish(bottom);
    /* ck orders stores before the new head, not loads: but who takes a message may reuse what we have read before we
     * gave it away. A compiler barrier where the machine keeps that order itself. */
    ck_pr_fence_release();
    pn_annotate_ignore_begin();
    if (top == bottom) {
        ck_stack_push_upmc(ck_of(stack), (ck_stack_entry_t *)(void *)top);
    } else {
        push_chain(ck_of(stack), (ck_stack_entry_t *)(void *)top, (ck_stack_entry_t *)(void *)bottom);
    }
    pn_annotate_ignore_end();
}

pn_message *pn_lf_stack_take_upmc(void **stack) {
    pn_annotate_ignore_begin();
    pn_message *top = (pn_message *)(void *)ck_stack_batch_pop_upmc(ck_of(stack));
    pn_annotate_ignore_end();
    for (pn_message *message = top; message; message = message->next) {
        pn_annotate_observe(message);
    }
    return top;
}

bool pn_lf_stack_empty(void *const *stack) {
    return ck_pr_load_ptr(stack) == NULL;
}

const char *pn_lf_stack_kind(void) {
    return "ck";
}
