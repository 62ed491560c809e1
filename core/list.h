/* SPDX-License-Identifier: MIT
 *
 * What: the one intrusive doubly linked list. A list is a ring through its head; an unlinked node has next == NULL.
 * Threads: the owner of the list.
 * Invariants: (1) for every linked node n, n->next->prev == n; (2) a node is in one list.
 */
#ifndef PN_LIST_H
#define PN_LIST_H

#include <stdbool.h>

#include "base.h"

typedef struct pn_node {
    struct pn_node *next, *prev;
} pn_node;

typedef struct pn_list {
    pn_node head;
} pn_list;

static inline void pn_list_init(pn_list *list) {
    list->head.next = list->head.prev = &list->head;
}

static inline bool pn_list_empty(const pn_list *list) {
    return list->head.next == &list->head;
}

static inline bool pn_linked(const pn_node *node) {
    return node->next != NULL;
}

static inline void pn_node_insert_before(pn_node *place, pn_node *node) {
    PN_DCHECK(!pn_linked(node));
    node->next = place;
    node->prev = place->prev;
    place->prev->next = node;
    place->prev = node;
}

static inline void pn_list_append(pn_list *list, pn_node *node) {
    pn_node_insert_before(&list->head, node);
}

static inline void pn_list_prepend(pn_list *list, pn_node *node) {
    pn_node_insert_before(list->head.next, node);
}

static inline void pn_node_unlink(pn_node *node) {
    PN_DCHECK(pn_linked(node));
    node->next->prev = node->prev;
    node->prev->next = node->next;
    node->next = node->prev = NULL;
}

static inline pn_node *pn_list_first(const pn_list *list) {
    return pn_list_empty(list) ? NULL : list->head.next;
}

static inline pn_node *pn_list_pop(pn_list *list) {
    pn_node *node = pn_list_first(list);
    if (node) {
        pn_node_unlink(node);
    }
    return node;
}

/* Safe against unlinking `node` in the body, not against unlinking the next one. */
#define PN_LIST_EACH(list, node)                                                                                       \
    for (pn_node *node = (list)->head.next, *node##_next = node->next; node != &(list)->head;                          \
         node = node##_next, node##_next = node->next)

#endif
