/* SPDX-License-Identifier: MIT
 *
 * What: reserved memory, and the line for a refused reservation.
 * Threads: the test's one thread, and children of it.
 */
#include "reserve.h"

#include "child.h"

Test(reserve, memory_is_usable_when_it_was_allowed) {
    /* Goal: reserved memory can be touched only where that was asked for.
     * Method: the kernel is asked whether it may read there. */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = pn_reserve(4 * page, false);
    cr_assert_not_null(memory);
    cr_assert_not(is_readable(memory));
    cr_assert(pn_reserve_allow(memory + page, page));
    cr_assert(is_readable(memory + page) && !is_readable(memory) && !is_readable(memory + 2 * page));
    munmap(memory, 4 * page);
    memory = pn_reserve(page, true);
    cr_assert(memory && memory[0] == 0);
    munmap(memory, page);
}

static void ask_for_too_much(void) {
    struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &limit);
    if (pn_reserve(1 << 20, true)) {
        _exit(1);
    }
    pn_reserve_tell("no room for the test", 1 << 20, errno);
}

Test(reserve, refusal_names_the_limit_and_the_cure) {
    /* Goal: the line says which limit is in the way, its value, and how to raise it.
     * Method: a child with 1 MiB of address space. */
    if (is_sanitized()) {
        cr_skip_test("a sanitizer's shadow is terabytes of address space");
    }
    child_end end = run_child(ask_for_too_much);
    cr_assert_eq(end.status, 0, "status %#x: %s", (unsigned)end.status, end.text);
    expect_said(&end, "pirn: no room for the test: 1024 KiB of address space are refused");
    expect_said(&end, "RLIMIT_AS is 1024 KiB");
    expect_said(&end, "ulimit -v");
    free(end.text);
}

static void get_stacks_in_little_space(void) {
    pn_below = &pn_hooks_alone;
    pn_stack_cache cache;
    pn_stack taken[64];
    if (pn_stack_setup(PIRN_GUARD_AUTO) != 0) {
        _exit(1);
    }
    pn_stack_cache_init(&cache);
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    if (!file || fscanf(file, "%lu", &pages) != 1) {
        _exit(2);
    }
    fclose(file);
    /* Room for eight strides of 128 KiB: less than the least slab. */
    limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (1 << 20);
    setrlimit(RLIMIT_AS, &limit);
    unsigned count = 0;
    while (count < 64 && pn_stack_get(&cache, PN_STACK_BYTES_DEFAULT, &taken[count]) == 0) {
        count++;
    }
    for (int i = 0; i < 100; i++) { /* told once */
        pn_stack none;
        if (pn_stack_get(&cache, PN_STACK_BYTES_DEFAULT, &none) == 0) {
            _exit(3);
        }
    }
    if (count < 4) {
        _exit(4);
    }
    while (count > 0) {
        pn_stack_put(&cache, &taken[--count]);
    }
    pn_stack_cache_fini(&cache);
}

Test(reserve, stacks_use_the_space_there_is_and_are_refused_with_one_line) {
    /* Goal: where a whole slab does not fit, a smaller one is taken; when none fits, one line names the limit.
     * Method: a child with 1 MiB of address space more than it has takes stacks until it gets none, 100 times more. */
    if (is_sanitized()) {
        cr_skip_test("a sanitizer's shadow is terabytes of address space");
    }
    child_end end = run_child(get_stacks_in_little_space);
    cr_assert_eq(end.status, 0, "status %#x: %s", (unsigned)end.status, end.text);
    expect_said(&end, "pirn: no stack for a tasklet: 128 KiB of address space are refused");
    cr_assert_null(strstr(strstr(end.text, "no stack") + 1, "no stack"), "%s", end.text);
    free(end.text);
}
