/* SPDX-License-Identifier: MIT
 *
 * What: each kind of guard can be had and guards, the best one is chosen, and running out of one falls back to the
 *       next, said in one line.
 */
#include "child.h"

#include <limits.h>
#include <sys/resource.h>

static bool has_madvise_guards(void) {
    pn_below = &pn_hooks_alone;
    return pn_stack_setup(PIRN_GUARD_AUTO) == 0 && pn_stack_guard() == PIRN_GUARD_MADVISE;
}

static unsigned mappings_count(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    cr_assert_not_null(maps);
    unsigned count = 0;
    for (int c = fgetc(maps); c != EOF; c = fgetc(maps)) {
        count += c == '\n';
    }
    fclose(maps);
    return count;
}

static pn_stack *get_many(unsigned count) {
    pn_stack *all = calloc(count, sizeof *all);
    cr_assert_not_null(all);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(pn_stack_get(&stacks, PN_STACK_BYTES_DEFAULT, &all[i]), 0, "stack %u", i);
    }
    return all;
}

static void put_many(pn_stack *all, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        pn_stack_put(&stacks, &all[i]);
    }
    free(all);
}

/* Goal: under both kinds of guard that the kernel enforces, the last byte below a stack and the 64 KiB below it are
 * out of reach, for the kernel too, and the stack's own bytes are not.
 * Method: ask the kernel to read them. */
static void expect_guarded(pirn_guard guard) {
    stacks_setup(guard);
    cr_assert_eq(pn_stack_guard(), guard);
    pn_stack *stack = get_many(1);
    const char *bottom = stack->bottom;
    cr_assert(!stack->canary);
    cr_assert(is_readable(bottom));
    cr_assert(!is_readable(bottom - 1));
    cr_assert(!is_readable(bottom - PN_STACK_GUARD_BYTES));
    put_many(stack, 1);
    pn_stack_cache_fini(&stacks);
}

/* Goal: forced, the kind is the one in force, and it guards. Method: expect_guarded. */
Test(stack_guard, mprotect_forced_guards) {
    expect_guarded(PIRN_GUARD_MPROTECT);
}

/* Goal: the same for the kernel's light guards, where there are any. Method: expect_guarded. */
Test(stack_guard, madvise_forced_guards) {
    if (!has_madvise_guards()) {
        cr_skip_test("this kernel has no MADV_GUARD_INSTALL");
    }
    expect_guarded(PIRN_GUARD_MADVISE);
}

/* Goal: whatever is chosen here guards. Method: expect_guarded with the choice. */
Test(stack_guard, auto_choice_guards) {
    expect_guarded(has_madvise_guards() ? PIRN_GUARD_MADVISE : PIRN_GUARD_MPROTECT);
}

/* Goal: a canary is intact until a byte of it is written, and a reused stack has a fresh one, also after a trim.
 * Method: overwrite each byte of it in turn; then 200 stacks with dirty bottoms, put back, trimmed and taken again. */
Test(stack_guard, canary_forced_tells_of_each_byte) {
    stacks_setup(PIRN_GUARD_CANARY);
    pn_stack *stack = get_many(1);
    cr_assert(stack->canary && pn_stack_intact(stack));
    for (int i = 0; i < 64; i++) {
        char *byte = (char *)stack->bottom + i;
        *byte ^= 1;
        cr_assert(!pn_stack_intact(stack));
        *byte ^= 1;
        cr_assert(pn_stack_intact(stack));
    }
    put_many(stack, 1);
    put_many(get_many(200), 200);
    (void)pn_stack_trim(&stacks, UINT_MAX);
    (void)pn_stack_trim(&stacks, UINT_MAX);
    pn_stack *all = get_many(200);
    for (int i = 0; i < 200; i++) {
        cr_assert(pn_stack_intact(&all[i]));
    }
    put_many(all, 200);
    pn_stack_cache_fini(&stacks);
}

/* Goal: a stack without a canary counts as intact, whatever stands at its bottom. Method: write there. */
Test(stack_guard, intact_without_canary_is_true) {
    stacks_setup(PIRN_GUARD_MPROTECT);
    pn_stack *stack = get_many(1);
    memset(stack->bottom, 0xff, 64);
    cr_assert(pn_stack_intact(stack));
    put_many(stack, 1);
    pn_stack_cache_fini(&stacks);
}

/* Goal: mprotect guards stop at half of the mappings a process may have: later stacks have a canary, one line says so
 * with the cure, and the budget comes back with the stacks.
 * Method: take stacks until one has a canary, a few more, look at the counts and at stderr; then the same again. */
Test(stack_guard, mprotect_budget_spent_goes_on_with_canaries) {
    stderr_catch caught;
    for (int round = 0; round < 2; round++) {
        stacks_setup(PIRN_GUARD_MPROTECT);
        stderr_catch_start(&caught);
        unsigned guarded = 0;
        enum { ROOM = 600000 };
        pn_stack *all = calloc(ROOM, sizeof *all);
        do {
            cr_assert_lt(guarded, ROOM - 100u);
            cr_assert_eq(pn_stack_get(&stacks, PN_STACK_BYTES_DEFAULT, &all[guarded]), 0);
        } while (!all[guarded++].canary);
        unsigned taken = guarded + 99;
        for (unsigned i = guarded; i < taken; i++) {
            cr_assert_eq(pn_stack_get(&stacks, PN_STACK_BYTES_DEFAULT, &all[i]), 0);
            cr_assert(all[i].canary);
        }
        char *text = stderr_catch_end(&caught);
        cr_assert(pn_stack_guards_exhausted());
        cr_assert_eq(count_of(text, "budget of mprotect stack guards is spent"), round == 0);
        cr_assert_eq(count_of(text, "sysctl vm.max_map_count="), round == 0);
        cr_assert_gt(guarded, 10000);
        cr_assert_lt(mappings_count(), 2 * guarded + 1000);
        free(text);
        for (unsigned i = 0; i < taken; i++) {
            pn_stack_put(&stacks, &all[i]);
        }
        free(all);
        pn_stack_cache_fini(&stacks);
    }
}

/* Goal: a million stacks of 64 KiB with the kernel's light guards fit the default limits: they cost next to no
 * mappings, and no memory until they are used.
 * Method: take them all, count mappings, and look at the guards of some. */
Test(stack_guard, madvise_a_million_stacks_fit) {
    if (!has_madvise_guards()) {
        cr_skip_test("this kernel has no MADV_GUARD_INSTALL");
    }
    unsigned count = (unsigned)pirn_test_count(1000000, 1000);
    stacks_setup(PIRN_GUARD_MADVISE);
    /* A sanitizer's shadow keeps the slabs from merging into one mapping. */
    unsigned stacks_per_mapping = is_sanitized() ? 100 : 1000;
    unsigned before = mappings_count();
    pn_stack *all = get_many(count);
    cr_assert_leq(mappings_count(), before + count / stacks_per_mapping + 50);
    for (unsigned i = 0; i < count; i += count / 100) {
        cr_assert(!all[i].canary && is_readable(all[i].bottom) && !is_readable((char *)all[i].bottom - 1));
    }
    put_many(all, count);
    pn_stack_cache_fini(&stacks);
}

static void lock_memory_then_get(void) {
    stacks_setup(PIRN_GUARD_AUTO);
    if (mlockall(MCL_FUTURE) != 0) {
        _exit(2);
    }
    pn_stack stack;
    if (pn_stack_get(&stacks, PN_STACK_BYTES_DEFAULT, &stack) != 0 || stack.canary ||
        is_readable((char *)stack.bottom - 1)) {
        _exit(3);
    }
    if (pn_stack_setup(PIRN_GUARD_MADVISE) == 0) {
        _exit(4); /* locked memory cannot have them */
    }
    if (pn_stack_setup(PIRN_GUARD_AUTO) != 0 || pn_stack_guard() != PIRN_GUARD_MPROTECT) {
        _exit(5);
    }
}

/* Goal: where the light guards are refused, stacks get mprotect ones: at the choice, and also later, when the program
 * locked its memory after it. A guard that was asked for by name is refused with a line.
 * Method: a child that calls mlockall(2), which forbids MADV_GUARD_INSTALL, before and after. */
Test(stack_guard, madvise_refused_falls_back_to_mprotect) {
    if (is_sanitized()) {
        cr_skip_test("sanitizers make mlockall do nothing");
    }
    if (!has_madvise_guards()) {
        cr_skip_test("this kernel has no MADV_GUARD_INSTALL");
    }
    child_end end = run_child(lock_memory_then_get);
    if (WIFEXITED(end.status) && WEXITSTATUS(end.status) == 2) {
        cr_skip_test("this user may not lock memory");
    }
    cr_assert_eq(end.status, 0, "status %#x: %s", (unsigned)end.status, end.text);
    expect_said(&end, "pirn: no MADV_GUARD_INSTALL here");
    expect_said(&end, "pirn: stacks are guarded by mprotect");
    free(end.text);
}
