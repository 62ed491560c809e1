/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/lf_stack.h on one thread: order, chains, emptiness. The same file runs over both builds; the
 *       threads are in tests/stress/lf_stack_stress_test.c.
 */
#include "test.h"

#include "lf_stack.h"

enum { MESSAGES = 5 };

static pn_message messages[MESSAGES];

/* Link messages[from] -> messages[from + 1] -> ... -> messages[to]. */
static void link_chain(int from, int to) {
    for (int i = from; i < to; i++) {
        messages[i].next = &messages[i + 1];
    }
    messages[to].next = NULL;
}

static void expect_taken(void **stack, const int *order, int count) {
    pn_message *message = pn_lf_stack_take_upmc(stack);
    for (int i = 0; i < count; i++) {
        cr_assert_eq((void *)message, (void *)&messages[order[i]], "place %d", i);
        message = message->next;
    }
    cr_assert_null(message);
}

/* Goal: a fresh stack has nothing to take.
 * Method: ask and take twice; neither may change the answer. */
Test(lf_stack, empty_stack_gives_nothing) {
    void *stack = NULL;
    cr_assert(pn_lf_stack_empty(&stack));
    cr_assert_null(pn_lf_stack_take_upmc(&stack));
    cr_assert_null(pn_lf_stack_take_upmc(&stack));
    cr_assert(pn_lf_stack_empty(&stack));
}

/* Goal: a take gives everything, newest first, and leaves nothing.
 * Method: push three singly, take, and compare the chain with the reversed order of pushing. */
Test(lf_stack, single_pushes_come_out_newest_first) {
    void *stack = NULL;
    for (int i = 0; i < 3; i++) {
        pn_lf_stack_push_upmc(&stack, &messages[i], &messages[i]);
        cr_assert(!pn_lf_stack_empty(&stack));
    }
    expect_taken(&stack, (int[]){2, 1, 0}, 3);
    cr_assert(pn_lf_stack_empty(&stack));
}

/* Goal: a chain goes on top as a whole and keeps its order, over what lay there before and under what comes after.
 * Method: one, a chain of three, one; the bottom's `next` holds rubbish before, which the push must overwrite. */
Test(lf_stack, chain_lies_between_its_neighbours) {
    void *stack = NULL;
    pn_lf_stack_push_upmc(&stack, &messages[0], &messages[0]);
    link_chain(1, 3);
    messages[3].next = &messages[1];
    pn_lf_stack_push_upmc(&stack, &messages[1], &messages[3]);
    pn_lf_stack_push_upmc(&stack, &messages[4], &messages[4]);
    expect_taken(&stack, (int[]){4, 1, 2, 3, 0}, 5);
}

/* Goal: a message may be pushed again as soon as it was taken.
 * Method: take a pair and push it in the other order, several times. */
Test(lf_stack, taken_messages_can_be_pushed_again) {
    void *stack = NULL;
    for (int round = 0; round < 3; round++) {
        pn_lf_stack_push_upmc(&stack, &messages[round % 2], &messages[round % 2]);
        pn_lf_stack_push_upmc(&stack, &messages[1 - round % 2], &messages[1 - round % 2]);
        expect_taken(&stack, (int[]){1 - round % 2, round % 2}, 2);
    }
}

/* Goal: a test log says which build it was.
 * Method: the name is one of the two. */
Test(lf_stack, kind_names_the_build) {
    cr_assert(strcmp(pn_lf_stack_kind(), "ck") == 0 || strcmp(pn_lf_stack_kind(), "c11") == 0);
}
