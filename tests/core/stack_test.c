/* SPDX-License-Identifier: MIT
 *
 * What: stacks are of the size asked for, cut and reused in the right order, cost no system call when warm, and give
 *       their memory back.
 */
#include "child.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void setup(void) {
    stacks_setup(PIRN_GUARD_AUTO);
}

static void teardown(void) {
    pn_stack_cache_fini(&stacks);
}

static void get(size_t bytes, pn_stack *stack) {
    cr_assert_eq(pn_stack_get(&stacks, bytes, stack), 0);
}

/* Write to both ends, and to one page in between. */
static void touch(const pn_stack *stack) {
    char *bottom = stack->bottom;
    bottom[0] = bottom[stack->bytes / 2] = bottom[stack->bytes - 1] = 1;
}

/* ---- sizes ---- */

/* Goal: a stack has at least the bytes asked for, in whole pages, all of them usable, and the smallest is not too
 * small.
 * Method: ask for sizes around every edge there is. */
Test(stack, get_any_size_gives_that_much, .init = setup, .fini = teardown) {
    static const size_t sizes[] = {1,     16384,  16385,     20480,     65535,         65536,
                                   65537, 100000, 256 << 10, 512 << 10, (1 << 20) + 1, 64 << 20};
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pn_stack stack;
        get(sizes[i], &stack);
        cr_assert_geq(stack.bytes, sizes[i]);
        cr_assert_geq(stack.bytes, PN_STACK_BYTES_MIN);
        cr_assert_leq(stack.bytes, sizes[i] + sizes[i] / 4 + PN_STACK_BYTES_MIN);
        cr_assert_eq(stack.bytes % page_bytes, 0);
        cr_assert_eq((uintptr_t)stack.bottom % page_bytes, 0);
        touch(&stack);
        pn_stack_put(&stacks, &stack);
        cr_assert_null(stack.bottom);
    }
}

/* Goal: a size beyond the largest is refused, and nothing is counted.
 * Method: ask for one byte more. */
Test(stack, get_too_large_is_refused, .init = setup, .fini = teardown) {
    pn_stack stack;
    cr_assert_eq(pn_stack_get(&stacks, (size_t)PN_STACK_BYTES_MAX + 1, &stack), PIRN_ENOMEM);
    cr_assert_eq(stacks.in_use, 0);
}

/* Goal: the default is exactly the size that the line about an overflow names.
 * Method: ask for it. */
Test(stack, get_default_is_64_kib, .init = setup, .fini = teardown) {
    pn_stack stack;
    get(PN_STACK_BYTES_DEFAULT, &stack);
    cr_assert_eq(stack.bytes, 65536);
    pn_stack_put(&stacks, &stack);
}

/* ---- reuse ---- */

/* Goal: the stack that was put back last is the next one handed out; the counts follow.
 * Method: put back two in one order, get them in the other. */
Test(stack, put_get_is_last_in_first_out, .init = setup, .fini = teardown) {
    pn_stack a, b;
    get(65536, &a);
    get(65536, &b);
    void *bottom_a = a.bottom, *bottom_b = b.bottom;
    cr_assert_eq(stacks.in_use, 2);
    pn_stack_put(&stacks, &a);
    pn_stack_put(&stacks, &b);
    cr_assert_eq(stacks.in_use, 0);
    cr_assert_eq(stacks.cached, 2);
    get(65536, &a);
    get(65536, &b);
    cr_assert_eq(a.bottom, bottom_b);
    cr_assert_eq(b.bottom, bottom_a);
    cr_assert_eq(stacks.cached, 0);
    pn_stack_put(&stacks, &a);
    pn_stack_put(&stacks, &b);
}

/* Goal: a size between two classes is served from its class's free stacks too, and from no other's.
 * Method: put back a 72 KiB stack; 64 KiB must not get it, 70 KiB must. */
Test(stack, get_other_size_stays_in_its_class, .init = setup, .fini = teardown) {
    pn_stack large, small, again;
    get(72 << 10, &large);
    void *bottom = large.bottom;
    pn_stack_put(&stacks, &large);
    get(64 << 10, &small);
    get(70 << 10, &again);
    cr_assert_neq(small.bottom, bottom);
    cr_assert_eq(again.bottom, bottom);
    pn_stack_put(&stacks, &small);
    pn_stack_put(&stacks, &again);
}

/* Goal: neighbours start at different cache lines, all within the first 1 KiB.
 * Method: 16 stacks in a row have 16 colours, multiples of 64. */
Test(stack, get_in_a_row_colours_differ, .init = setup, .fini = teardown) {
    pn_stack all[16];
    unsigned seen = 0;
    for (int i = 0; i < 16; i++) {
        get(65536, &all[i]);
        cr_assert_eq(all[i].colour % 64, 0);
        cr_assert_lt(all[i].colour, 1024);
        seen |= 1u << (all[i].colour / 64);
    }
    cr_assert_eq(seen, 0xffff);
    for (int i = 0; i < 16; i++) {
        pn_stack_put(&stacks, &all[i]);
    }
}

/* Goal: stacks do not overlap, each has a guard of the full size below it, and the memory of all is its own.
 * Method: 1,000 stacks: the kernel refuses to read the first and last byte of each guard, and writes do not meet. */
Test(stack, get_many_are_apart_and_guarded, .init = setup, .fini = teardown) {
    static pn_stack all[1000];
    for (uint32_t i = 0; i < 1000; i++) {
        get(i % 3 ? 65536 : 16384, &all[i]);
        memcpy(all[i].bottom, &i, sizeof i);
        memcpy((char *)all[i].bottom + all[i].bytes - sizeof i, &i, sizeof i);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        const char *bottom = all[i].bottom;
        cr_assert(memcmp(bottom, &i, sizeof i) == 0 && memcmp(bottom + all[i].bytes - sizeof i, &i, sizeof i) == 0);
        if (i % 50 == 0) {
            cr_assert(is_readable(bottom) && !is_readable(bottom - 1) && !is_readable(bottom - PN_STACK_GUARD_BYTES));
        }
        pn_stack_put(&stacks, &all[i]);
    }
}

/* ---- what it costs ---- */

/* From here on the kernel kills this process for any system call of this thread but the one that ends it. (Strict
 * seccomp would allow only the end of the thread, and sanitizers have threads of their own.) */
static void forbid_system_calls(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof rules / sizeof *rules, .filter = rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        _exit(2);
    }
}

/* Sanitizers do more in _exit(2). */
static void end_forbidden(int code) {
    syscall(SYS_exit_group, code);
}

/* A child that ended well made no forbidden call. */
static void expect_no_system_call(void (*body)(void)) {
    if (__tsan_init) {
        cr_skip_test("ThreadSanitizer makes system calls of its own");
    }
    child_end end = run_child(body);
    if (WIFEXITED(end.status) && WEXITSTATUS(end.status) == 2) {
        cr_skip_test("this system has no seccomp");
    }
    cr_assert(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0, "status %#x: %s", (unsigned)end.status, end.text);
    free(end.text);
}

static void get_and_put_warm(void) {
    pn_stack a, b;
    uint64_t count = pirn_test_count(1000000, 10000);
    get(65536, &a);
    get(16384, &b);
    forbid_system_calls();
    for (uint64_t i = 0; i < count; i++) {
        pn_stack_put(&stacks, &a);
        pn_stack_put(&stacks, &b);
        if (pn_stack_get(&stacks, 16384, &b) != 0 || pn_stack_get(&stacks, 65536, &a) != 0) {
            end_forbidden(3);
        }
    }
    end_forbidden(0);
}

static void get_and_put_then_call(void) {
    forbid_system_calls();
    (void)syscall(SYS_getppid);
    end_forbidden(0);
}

/* Goal: a warm get and put make no system call.
 * Method: a million of both under a seccomp filter; a child that does make a call shows that this would be noticed. */
Test(stack, get_and_put_warm_make_no_system_call, .init = setup) {
    expect_no_system_call(get_and_put_warm);
    child_end end = run_child(get_and_put_then_call);
    cr_assert(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGSYS);
    free(end.text);
}

/* ---- giving back ---- */

enum { BURST = 500, RESERVE = 64 };
static pn_stack burst[BURST];
static void *bottoms[BURST];

static void put_burst(void) {
    for (int i = 0; i < BURST; i++) {
        get(65536, &burst[i]);
        touch(&burst[i]);
        bottoms[i] = burst[i].bottom;
    }
    for (int i = 0; i < BURST; i++) {
        pn_stack_put(&stacks, &burst[i]);
    }
}

static size_t pages_of_burst(void) {
    size_t present = 0;
    for (int i = 0; i < BURST; i++) {
        present += pages_present(bottoms[i], 65536);
    }
    return present;
}

static void trim(void) {
    cr_assert(pn_stack_trim(&stacks, UINT_MAX));
}

/* What was in use since the last trim is kept by one, given back by the next. */
static void trim_unused(void) {
    trim();
    trim();
    cr_assert(!pn_stack_surplus(&stacks));
}

/* Goal: after a burst the memory goes back to the system but for a small reserve, which is the end that is used next;
 * the guards are not given back with it.
 * Method: touch three pages of each of 500 stacks, put them back, trim, count pages; look at the guards; use all
 * again. */
Test(stack, trim_after_a_burst_gives_memory_back, .init = setup, .fini = teardown) {
    put_burst();
    cr_assert_eq(pages_of_burst(), 3 * BURST);
    cr_assert(pn_stack_surplus(&stacks));
    trim_unused();
    cr_assert_eq(pages_of_burst(), 3 * RESERVE);
    pn_stack next;
    get(65536, &next);
    cr_assert_eq(pages_present(next.bottom, next.bytes), 3);
    pn_stack_put(&stacks, &next);
    for (int i = 0; i < BURST; i += 25) {
        cr_assert(!is_readable((char *)bottoms[i] - 1));
    }
    put_burst();
    cr_assert_eq(pages_of_burst(), 3 * BURST);
    cr_assert(pn_stack_surplus(&stacks));
    trim_unused();
    cr_assert_eq(pages_of_burst(), 3 * RESERVE);
}

/* Goal: a program whose bursts come again and again keeps the memory for them; what a larger one took before goes.
 * Method: 500 stacks, then twice 200 with a trim after each; count pages. */
Test(stack, trim_between_bursts_keeps_what_they_use, .init = setup, .fini = teardown) {
    put_burst();
    trim();
    cr_assert_eq(pages_of_burst(), 3 * BURST, "all were in use just before");
    enum { SMALLER = 200 };
    for (int round = 0; round < 2; round++) {
        static pn_stack smaller[SMALLER];
        for (int i = 0; i < SMALLER; i++) {
            get(65536, &smaller[i]);
        }
        for (int i = SMALLER; i-- > 0;) {
            pn_stack_put(&stacks, &smaller[i]);
        }
        trim();
        cr_assert_eq(pages_of_burst(), 3 * SMALLER);
        cr_assert(pn_stack_surplus(&stacks));
    }
    trim();
    cr_assert_eq(pages_of_burst(), 3 * RESERVE);
}

/* Goal: a trim of many stacks can be made in parts, and gives back no more than asked for in each.
 * Method: 500 touched stacks, fifty a call; count pages. */
Test(stack, trim_in_parts_gives_back_the_same, .init = setup, .fini = teardown) {
    put_burst();
    trim();
    unsigned calls = 0;
    size_t before = 3 * BURST;
    while (!pn_stack_trim(&stacks, 50)) {
        calls++;
        cr_assert_eq(pages_of_burst(), before - 3 * 50);
        before -= 3 * 50;
    }
    cr_assert_eq(calls, (BURST - RESERVE) / 50);
    cr_assert_eq(pages_of_burst(), 3 * RESERVE);
    cr_assert(!pn_stack_surplus(&stacks));
}

static void trim_again(void) {
    put_burst();
    trim_unused();
    forbid_system_calls();
    for (int i = 0; i < 1000; i++) {
        trim();
    }
    end_forbidden(0);
}

/* Goal: with nothing to give, trim is cheap: pages are given back once until their stack is used again.
 * Method: trim a thousand times more under a seccomp filter. */
Test(stack, trim_again_makes_no_system_call, .init = setup) {
    expect_no_system_call(trim_again);
}

/* Goal: a few large stacks do not keep many megabytes warm.
 * Method: 8 stacks of 4 MiB, all touched: at most one keeps its pages. */
Test(stack, trim_large_stacks_keeps_few, .init = setup, .fini = teardown) {
    static pn_stack large[8];
    for (int i = 0; i < 8; i++) {
        get(4 << 20, &large[i]);
        touch(&large[i]);
        bottoms[i] = large[i].bottom;
    }
    for (int i = 0; i < 8; i++) {
        pn_stack_put(&stacks, &large[i]);
    }
    trim_unused();
    size_t present = 0;
    for (int i = 0; i < 8; i++) {
        present += pages_present(bottoms[i], 4 << 20);
    }
    cr_assert_leq(present, 3);
}

/* Goal: fini unmaps everything.
 * Method: after it, the kernel knows no mapping at the stacks of a burst. */
Test(stack, fini_after_a_burst_unmaps_all, .init = setup) {
    put_burst();
    pn_stack_cache_fini(&stacks);
    cr_assert_eq(stacks.cached, 0);
    for (int i = 0; i < BURST; i++) {
        unsigned char state;
        cr_assert(mincore(bottoms[i], 1, &state) != 0 && errno == ENOMEM);
    }
}
