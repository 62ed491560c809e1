/* SPDX-License-Identifier: MIT
 *
 * What: the inbox: a stack pushed by many (lf_stack.h), turned round by its one taker so that messages are delivered in
 *       order.
 * Threads: as inbox.h says.
 * Invariants: (1) per producer, delivery is in order of pushing: each take holds an unbroken newest part of the stack,
 *       and takes follow each other; (2) drain reads a message's `next` before it delivers it, for delivery may free it
 *       or push it again; (3) what is pushed during a drain waits for the next one, so that a message which posts
 *       itself cannot keep the thread.
 */
#include "inbox.h"

#include "lf_stack.h"

void pn_inbox_init(pn_inbox *inbox) {
    inbox->top = NULL;
    inbox->taken_count = 0;
    inbox->waiting_count = 0;
}

void pn_inbox_push_mpsc(pn_inbox *inbox, pn_message *message) {
    PN_DCHECK(message->deliver != NULL);
    pn_lf_stack_push_upmc(&inbox->top, message, message);
}

/* Turn the links of first -> ... -> NULL round; returns the new first, and how many there are. */
static pn_message *reverse(pn_message *first, unsigned *count) {
    pn_message *done = NULL;
    *count = 0;
    while (first) {
        pn_message *next = first->next;
        first->next = done;
        done = first;
        first = next;
        (*count)++;
    }
    return done;
}

void pn_inbox_push_chain_mpsc(pn_inbox *inbox, pn_message *first, pn_message *last) {
    /* On a stack what is to be delivered last lies on top. */
    last->next = NULL;
    unsigned count;
    pn_message *top = reverse(first, &count);
    PN_DCHECK(top == last);
    pn_lf_stack_push_upmc(&inbox->top, top, first);
}

bool pn_inbox_empty(const pn_inbox *inbox) {
    return pn_lf_stack_empty(&inbox->top);
}

unsigned pn_inbox_drain(pn_inbox *inbox) {
    /* The exchange in a take costs even when there is nothing, and makes the producers' cache line ours. */
    if (pn_inbox_empty(inbox)) {
        return 0;
    }
    unsigned count;
    pn_message *message = reverse(pn_lf_stack_take_upmc(&inbox->top), &count);
    inbox->waiting_count = count;
    while (message) {
        pn_message *next = message->next;
        inbox->taken_count++; /* before it is delivered: a message may look at these counts (shutdown.c does) */
        inbox->waiting_count--;
        message->deliver(message);
        message = next;
    }
    return count;
}
