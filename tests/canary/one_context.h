/* SPDX-License-Identifier: MIT
 *
 * What: what the canaries of contexts share: run a function with a planted bug on a context's stack, after it was
 *       left and resumed, so that a tool that lost track of stacks would miss the bug.
 * Threads: any; each has its own.
 */
#ifndef CANARY_ONE_CONTEXT_H
#define CANARY_ONE_CONTEXT_H

#include <stdio.h>
#include <stdlib.h>

#include "context.h"
#include "hooks.h"
#include "stack.h"

static _Thread_local pn_context outside, inside;
static _Thread_local void (*planted)(void);

static void canary_entry(void) {
    pn_context_entered(&inside);
    pn_context_switch(&inside, &outside);
    planted();
    pn_context_leave(&inside, &outside);
}

/* Before any thread: pn_below and the kind of guard. */
static inline void canary_setup(void) {
    pn_below = &pn_hooks_alone;
    if (pn_stack_setup(PIRN_GUARD_AUTO) != 0) {
        exit(1);
    }
}

static inline void canary_run(void (*bug)(void)) {
    pn_stack_cache cache;
    pn_stack stack;
    pn_stack_cache_init(&cache);
    if (pn_stack_get(&cache, PN_STACK_BYTES_DEFAULT, &stack) != 0) {
        exit(1);
    }
    planted = bug;
    pn_context_init_thread(&outside);
    pn_context_make(&inside, stack.bottom, stack.bytes, stack.colour, canary_entry);
    pn_context_switch(&outside, &inside);
    pn_context_switch(&outside, &inside);
    pn_context_unmake(&inside);
    pn_stack_put(&cache, &stack);
    pn_context_fini_thread(&outside);
    pn_stack_cache_fini(&cache);
}

#endif
