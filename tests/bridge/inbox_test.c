/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/inbox.c on one thread: order of delivery, and what deliveries may do.
 */
#include "test.h"

#include "inbox.h"

/* A message that writes its number into a log. */
typedef struct numbered {
    pn_message message;
    int number;
} numbered;

enum { LOG_MAX = 32 };

static pn_inbox inbox;
static int log_numbers[LOG_MAX];
static int log_count;

static void deliver_numbered(pn_message *message) {
    cr_assert_lt(log_count, LOG_MAX);
    log_numbers[log_count++] = PN_CONTAINER_OF(message, numbered, message)->number;
}

static void deliver_and_free(pn_message *message) {
    deliver_numbered(message);
    memset(message, 0xee, sizeof *message);
    free(PN_CONTAINER_OF(message, numbered, message));
}

static void deliver_and_post_again(pn_message *message) {
    deliver_numbered(message);
    pn_inbox_push_mpsc(&inbox, message);
}

static void setup(void) {
    pn_inbox_init(&inbox);
    log_count = 0;
}

static void number(numbered *all, int count, void (*deliver)(pn_message *)) {
    for (int i = 0; i < count; i++) {
        all[i] = (numbered){.message.deliver = deliver, .number = i};
    }
}

static void expect_log(const int *numbers, int count) {
    cr_assert_eq(log_count, count, "%d delivered", log_count);
    for (int i = 0; i < count; i++) {
        cr_assert_eq(log_numbers[i], numbers[i], "place %d has %d", i, log_numbers[i]);
    }
}

/* Goal: an inbox starts empty, and draining nothing does nothing.
 * Method: drain twice, look at the counts. */
Test(inbox, fresh_is_empty, .init = setup) {
    cr_assert(pn_inbox_empty(&inbox));
    cr_assert_eq(pn_inbox_drain(&inbox), 0);
    cr_assert_eq(pn_inbox_drain(&inbox), 0);
    cr_assert_eq(inbox.taken_count, 0);
}

/* Goal: first in, first out, though a stack lies below.
 * Method: four pushes, one drain, exact order; a second drain delivers nothing again. */
Test(inbox, drain_delivers_in_order_of_pushing, .init = setup) {
    numbered all[4];
    number(all, 4, deliver_numbered);
    for (int i = 0; i < 4; i++) {
        pn_inbox_push_mpsc(&inbox, &all[i].message);
    }
    cr_assert(!pn_inbox_empty(&inbox));
    cr_assert_eq(pn_inbox_drain(&inbox), 4);
    cr_assert_eq(pn_inbox_drain(&inbox), 0);
    expect_log((int[]){0, 1, 2, 3}, 4);
    cr_assert_eq(inbox.taken_count, 4);
}

/* Goal: a chain is delivered in its own order, in its place among single messages, whatever stands behind its last
 * link.
 * Method: 0, the chain 1-2-3 with rubbish after 3, 4, the chain of one 5. */
Test(inbox, chain_is_delivered_in_its_order_and_place, .init = setup) {
    numbered all[6];
    number(all, 6, deliver_numbered);
    pn_inbox_push_mpsc(&inbox, &all[0].message);
    all[1].message.next = &all[2].message;
    all[2].message.next = &all[3].message;
    all[3].message.next = &all[0].message;
    pn_inbox_push_chain_mpsc(&inbox, &all[1].message, &all[3].message);
    pn_inbox_push_mpsc(&inbox, &all[4].message);
    all[5].message.next = NULL;
    pn_inbox_push_chain_mpsc(&inbox, &all[5].message, &all[5].message);
    cr_assert_eq(pn_inbox_drain(&inbox), 6);
    expect_log((int[]){0, 1, 2, 3, 4, 5}, 6);
}

/* Goal: a delivery may free its message; the ones behind it are still found.
 * Method: heap messages that overwrite and free themselves (ASan would see a late read). */
Test(inbox, delivery_may_free_its_message, .init = setup) {
    for (int i = 0; i < 3; i++) {
        numbered *one = malloc(sizeof *one);
        *one = (numbered){.message.deliver = deliver_and_free, .number = i};
        pn_inbox_push_mpsc(&inbox, &one->message);
    }
    cr_assert_eq(pn_inbox_drain(&inbox), 3);
    expect_log((int[]){0, 1, 2}, 3);
}

/* Goal: what a delivery posts waits for the next drain, so a message that posts itself cannot keep the thread for ever.
 * Method: two such messages: each drain delivers exactly two, in the same order. */
Test(inbox, message_posted_by_a_delivery_waits_for_the_next_drain, .init = setup) {
    numbered all[2];
    number(all, 2, deliver_and_post_again);
    pn_inbox_push_mpsc(&inbox, &all[0].message);
    pn_inbox_push_mpsc(&inbox, &all[1].message);
    for (int round = 1; round <= 3; round++) {
        cr_assert_eq(pn_inbox_drain(&inbox), 2);
        cr_assert(!pn_inbox_empty(&inbox));
    }
    expect_log((int[]){0, 1, 0, 1, 0, 1}, 6);
}

static pn_flag hurry;

static void deliver_and_raise(pn_message *message) {
    deliver_numbered(message);
    pn_flag_raise(&hurry);
}

/* Goal: a drain with a bound leaves the rest, in order, to the next one, and says that it is there.
 * Method: seven messages, three at most a drain; an eighth is pushed in between. */
Test(inbox, bounded_drain_keeps_the_rest_in_order, .init = setup) {
    numbered all[8];
    number(all, 8, deliver_numbered);
    for (int i = 0; i < 7; i++) {
        pn_inbox_push_mpsc(&inbox, &all[i].message);
    }
    cr_assert_eq(pn_inbox_drain_some(&inbox, 3, NULL), 3);
    cr_assert(!pn_inbox_empty(&inbox) && pn_inbox_taken(&inbox));
    cr_assert_eq(inbox.waiting_count, 4);
    pn_inbox_push_mpsc(&inbox, &all[7].message);
    cr_assert_eq(pn_inbox_drain_some(&inbox, 3, NULL), 3);
    cr_assert_eq(pn_inbox_drain(&inbox), 2);
    cr_assert(pn_inbox_empty(&inbox));
    cr_assert_eq(inbox.taken_count, 8);
    expect_log((const int[]){0, 1, 2, 3, 4, 5, 6, 7}, 8);
}

/* Goal: a drain ends when its thread is asked to look elsewhere, and still gets on.
 * Method: messages that raise the flag; it stays raised for the second drain. */
Test(inbox, hurried_drain_delivers_one, .init = setup) {
    numbered all[3];
    number(all, 3, deliver_and_raise);
    for (int i = 0; i < 3; i++) {
        pn_inbox_push_mpsc(&inbox, &all[i].message);
    }
    cr_assert_eq(pn_inbox_drain_some(&inbox, 100, &hurry), 1);
    cr_assert_eq(pn_inbox_drain_some(&inbox, 100, &hurry), 1);
    cr_assert_eq(pn_inbox_drain_some(&inbox, 100, NULL), 1);
    expect_log((const int[]){0, 1, 2}, 3);
}
