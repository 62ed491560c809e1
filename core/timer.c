/* SPDX-License-Identifier: MIT
 *
 * What: the pairing heap behind core/timer.h. A heap is a tree of timers; the children of one parent form a list.
 * Threads: the owner of the heap.
 * Invariants: (1) no child is before its parent; (2) `prev` is the sibling before, of a first child the parent, of the
 *       root NULL; (3) a timer that is due and has not fired yet is a child of `due` in pn_timers_run, and can be
 *       disarmed there.
 * Cost: arm and disarm of a leaf O(1); taking the root pairs its children off, two passes, amortised O(log n).
 * Source: Fredman, Sedgewick, Sleator, Tarjan: The pairing heap (1986).
 */
#include "timer.h"

#include <stddef.h>

void pn_timers_init(pn_timers *timers) {
    *timers = (pn_timers){0};
}

static bool before(const pn_timer *a, const pn_timer *b) {
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->order < b->order;
}

/* Join two heaps: the later root becomes the first child of the earlier. */
static pn_timer *meld(pn_timer *a, pn_timer *b) {
    if (!a || !b) {
        return a ? a : b;
    }
    if (before(b, a)) {
        pn_timer *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (a->child) {
        a->child->prev = b;
    }
    b->prev = a;
    a->child = b;
    return a;
}

/* One heap of a list of siblings: join them in pairs left to right, then the pairs right to left. Pairs are kept
 * as a list through `prev`, so that a long list needs no stack. */
static pn_timer *meld_siblings(pn_timer *first) {
    pn_timer *pairs = NULL;
    while (first) {
        pn_timer *a = first;
        pn_timer *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b) {
            b->next = b->prev = NULL;
        }
        pn_timer *pair = meld(a, b);
        pair->prev = pairs;
        pairs = pair;
    }
    pn_timer *root = NULL;
    while (pairs) {
        pn_timer *pair = pairs;
        pairs = pair->prev;
        pair->prev = NULL;
        root = meld(root, pair);
    }
    return root;
}

static void take_out(pn_timers *timers, pn_timer *timer) {
    if (timer == timers->root) {
        timers->root = meld_siblings(timer->child);
    } else {
        if (timer->prev->child == timer) {
            timer->prev->child = timer->next;
        } else {
            timer->prev->next = timer->next;
        }
        if (timer->next) {
            timer->next->prev = timer->prev;
        }
        timers->root = meld(timers->root, meld_siblings(timer->child));
    }
    timer->child = timer->next = timer->prev = NULL;
    timer->armed = false;
    timers->count--;
}

void pn_timer_arm(pn_timers *timers, pn_timer *timer, pirn_time deadline, void (*fire)(pn_timer *)) {
    *timer = (pn_timer){.deadline = deadline, .order = timers->armed_count++, .fire = fire, .armed = true};
    timers->root = meld(timers->root, timer);
    timers->count++;
}

void pn_timer_disarm(pn_timers *timers, pn_timer *timer) {
    if (timer->armed) {
        take_out(timers, timer);
    }
}

pirn_time pn_timers_next(const pn_timers *timers) {
    return timers->root ? timers->root->deadline : PIRN_FOREVER;
}

unsigned pn_timers_run(pn_timers *timers, pirn_time now) {
    /* All that are due move first to `due`, as the children of a parent that is in no heap: what a firing timer arms
     * then waits for the next turn, however early its deadline, and one that it disarms leaves the list as it would
     * leave the heap. */
    pn_timer due = {0};
    pn_timer *last = &due;
    while (timers->root && timers->root->deadline <= now) {
        pn_timer *timer = timers->root;
        timers->root = meld_siblings(timer->child);
        timer->child = NULL;
        timer->prev = last;
        *(last == &due ? &due.child : &last->next) = timer;
        last = timer;
    }
    unsigned fired = 0;
    for (pn_timer *timer = due.child; timer; timer = due.child) {
        take_out(timers, timer);
        timer->fire(timer);
        fired++;
    }
    return fired;
}
