/* SPDX-License-Identifier: MIT
 *
 * What: the inbox: a stack pushed by many (lf_stack.h), turned round by its one taker so that messages are delivered in
 *       order.
 * Threads: as inbox.h says.
 * Invariants: (1) per producer, delivery is in order of pushing: each take holds an unbroken newest part of the stack,
 *       and takes follow each other; (2) a message is out of the list of those waiting before it is delivered, for
 *       delivery may free it or push it again; (3) what is pushed during a drain waits for the next one, so that a
 *       message which posts itself cannot keep the thread; (4) what was taken first is delivered first, so the order
 *       per producer holds when a drain stops in the middle.
 */
#include "inbox.h"

#include <limits.h>

#include "lf_stack.h"

void pn_inbox_init(pn_inbox *inbox) {
    *inbox = (pn_inbox){.top = NULL};
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

bool pn_inbox_taken(const pn_inbox *inbox) {
    return pn_lf_stack_empty(&inbox->top);
}

bool pn_inbox_empty(const pn_inbox *inbox) {
    return !inbox->waiting && pn_inbox_taken(inbox);
}

/* Put what was pushed until now behind what waits. */
static void take(pn_inbox *inbox) {
    /* The exchange in a take costs even when there is nothing, and makes the producers' cache line ours. */
    if (pn_inbox_taken(inbox)) {
        return;
    }
    unsigned count;
    pn_message *last = pn_lf_stack_take_upmc(&inbox->top);
    pn_message *first = reverse(last, &count);
    if (inbox->waiting) {
        inbox->waiting_last->next = first;
    } else {
        inbox->waiting = first;
    }
    inbox->waiting_last = last;
    inbox->waiting_count += count;
}

static void deliver_first(pn_inbox *inbox) {
    pn_message *message = inbox->waiting;
    inbox->waiting = message->next;
    inbox->taken_count++; /* before it is delivered: a message may look at these counts (shutdown.c does) */
    inbox->waiting_count--;
    message->deliver(message);
}

unsigned pn_inbox_drain_some(pn_inbox *inbox, unsigned count_max, const pn_flag *hurry) {
    take(inbox);
    unsigned count = inbox->waiting_count < count_max ? inbox->waiting_count : count_max;
    for (unsigned i = 0; i < count; i++) {
        deliver_first(inbox);
        if (hurry && pn_flag_raised(hurry)) {
            return i + 1;
        }
    }
    return count;
}

unsigned pn_inbox_drain(pn_inbox *inbox) {
    return pn_inbox_drain_some(inbox, UINT_MAX, NULL);
}
