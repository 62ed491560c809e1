/* SPDX-License-Identifier: MIT
 *
 * What: the intrusive list: order, unlinking in every place, the walk that survives unlinking its own node.
 * Threads: one. No scheduler runs here.
 */
#include "core_test.h"
#include "list.h"

typedef struct item {
    pn_node link;
    int number;
} item;

static int number_of(const pn_node *node) {
    return PN_CONTAINER_OF(node, item, link)->number;
}

/* Invariant (1) of list.h, and the numbers in order. */
static void expect_numbers(pn_list *list, const int *numbers, size_t count) {
    size_t seen = 0;
    PN_LIST_EACH(list, node) {
        cr_assert(node->next->prev == node && node->prev->next == node);
        cr_assert_lt(seen, count);
        cr_assert_eq(number_of(node), numbers[seen]);
        seen++;
    }
    cr_assert_eq(seen, count);
}

/* Goal: a fresh list is empty.
 * Method: every question that can be asked of an empty one. */
Test(list, fresh_list_is_empty) {
    pn_list list;
    pn_list_init(&list);
    cr_assert(pn_list_empty(&list));
    cr_assert_null(pn_list_first(&list));
    cr_assert_null(pn_list_pop(&list));
    expect_numbers(&list, NULL, 0);
}

/* Goal: append adds behind, prepend before, insert_before in between.
 * Method: four items by the three ways; walk. */
Test(list, insertions_keep_their_places) {
    item items[] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    pn_list list;
    pn_list_init(&list);
    pn_list_append(&list, &items[2].link);
    pn_list_append(&list, &items[3].link);
    pn_list_prepend(&list, &items[0].link);
    pn_node_insert_before(&items[2].link, &items[1].link);
    expect_numbers(&list, (const int[]){0, 1, 2, 3}, 4);
    cr_assert_eq(number_of(pn_list_first(&list)), 0);
}

/* Goal: unlinking leaves the rest in order wherever the node stood, and the node knows that it is out.
 * Method: for each of three places, unlink it, walk, put it back at the end. */
Test(list, unlink_in_any_place_keeps_the_others) {
    for (int gone = 0; gone < 3; gone++) {
        item items[] = {{.number = 0}, {.number = 1}, {.number = 2}};
        pn_list list;
        pn_list_init(&list);
        for (int i = 0; i < 3; i++) {
            pn_list_append(&list, &items[i].link);
        }
        pn_node_unlink(&items[gone].link);
        cr_assert_not(pn_linked(&items[gone].link));
        expect_numbers(&list, (const int[]){gone == 0 ? 1 : 0, gone == 2 ? 1 : 2}, 2);
        pn_list_append(&list, &items[gone].link);
        cr_assert(pn_linked(&items[gone].link));
        expect_numbers(&list, (const int[]){gone == 0 ? 1 : 0, gone == 2 ? 1 : 2, gone}, 3);
    }
}

/* Goal: pop takes the first until none is left.
 * Method: three items; pop four times. */
Test(list, pop_takes_in_order_until_empty) {
    item items[] = {{.number = 0}, {.number = 1}, {.number = 2}};
    pn_list list;
    pn_list_init(&list);
    for (int i = 0; i < 3; i++) {
        pn_list_append(&list, &items[i].link);
    }
    for (int i = 0; i < 3; i++) {
        pn_node *node = pn_list_pop(&list);
        cr_assert_eq(number_of(node), i);
        cr_assert_not(pn_linked(node));
    }
    cr_assert_null(pn_list_pop(&list));
    cr_assert(pn_list_empty(&list));
}

/* Goal: a walk may unlink the node it is at.
 * Method: unlink the even ones of six while walking; the odd ones remain. */
Test(list, walk_survives_unlinking_its_node) {
    item items[6];
    pn_list list;
    pn_list_init(&list);
    for (int i = 0; i < 6; i++) {
        items[i] = (item){.number = i};
        pn_list_append(&list, &items[i].link);
    }
    PN_LIST_EACH(&list, node) {
        if (number_of(node) % 2 == 0) {
            pn_node_unlink(node);
        }
    }
    expect_numbers(&list, (const int[]){1, 3, 5}, 3);
}
