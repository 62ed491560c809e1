/* SPDX-License-Identifier: MIT
 *
 * What: a process that dies of a stack overflow, or of another fault, says first which tasklet it was and what to do;
 *       then it dies by that signal, and whoever handled it before still gets it.
 */
#include "child.h"

#include <pthread.h>

static pn_overflow_subject subject;
static bool has_subject;

static bool describe(pn_overflow_subject *out) {
    *out = subject;
    return has_subject;
}

static void start(pirn_guard guard) {
    stacks_setup(guard);
    pn_context_init_thread(&thread_context);
    cr_assert_eq(pn_stack_thread_init(describe), 0);
}

/* Run `entry` as tasklet 0.44. */
static void run_named(const char *name, size_t stack_bytes, pn_context_entry entry) {
    static coroutine co;
    coroutine_start(&co, stack_bytes, entry);
    subject = (pn_overflow_subject){.id = (uint64_t)43 << 32, .name = name, .stack = &co.stack};
    has_subject = true;
    coroutine_resume(&co);
    has_subject = false;
}

static void expect_line(void (*body)(void), int signal, const char *line) {
    child_end end = run_child(body);
    expect_said(&end, line);
    expect_killed(&end, signal);
    free(end.text);
}

/* An address that nothing is mapped at, hidden from compilers that know so. */
static volatile int *volatile nowhere = (volatile int *)0x40;

/* ---- overflow ---- */

static volatile unsigned bottomless = 1;

/* Each frame is written whole and used after the call, so that no compiler makes it a loop. Frames are large, because
 * ThreadSanitizer follows 65,536 of them at most, and a canary may fall between what two small ones write. */
static __attribute__((noinline)) unsigned recurse(unsigned depth) {
    volatile unsigned char frame[4096];
    for (size_t i = 0; i < sizeof frame; i++) {
        frame[i] = (unsigned char)depth;
    }
    if (!bottomless && depth == 0) {
        return 0;
    }
    return recurse(depth - 1) + frame[depth % sizeof frame];
}

static void recurse_entry(void) {
    pn_context_entered(&running->context);
    recurse(1);
}

static void overflow_mprotect(void) {
    start(PIRN_GUARD_MPROTECT);
    run_named("req /chat", PN_STACK_BYTES_DEFAULT, recurse_entry);
}

/* Goal: endless recursion under mprotect guards is reported with name, size and cure, and dies by SIGSEGV.
 * Method: a child does it. */
Test(stack_overflow, recursion_mprotect_guard_is_named) {
    expect_line(
        overflow_mprotect, SIGSEGV,
        "pirn: tasklet 0.44 \"req /chat\" overflowed its 64 KiB stack (guard page hit). Spawn it with .stack_bytes = "
        "262144, or run with a larger stack_bytes. Guard: mprotect.\n");
}

static void overflow_madvise(void) {
    start(PIRN_GUARD_AUTO);
    if (pn_stack_guard() != PIRN_GUARD_MADVISE) {
        _exit(2);
    }
    run_named("req /chat", 128 << 10, recurse_entry);
}

/* Goal: the same under the kernel's light guards, with another size.
 * Method: a child does it. */
Test(stack_overflow, recursion_madvise_guard_is_named) {
    child_end end = run_child(overflow_madvise);
    if (WIFEXITED(end.status) && WEXITSTATUS(end.status) == 2) {
        cr_skip_test("this kernel has no MADV_GUARD_INSTALL");
    }
    expect_said(&end, "pirn: tasklet 0.44 \"req /chat\" overflowed its 128 KiB stack (guard page hit). Spawn it with "
                      ".stack_bytes = 524288, or run with a larger stack_bytes. Guard: madvise.\n");
    expect_killed(&end, SIGSEGV);
    free(end.text);
}

/* A few kilobytes deeper at each try, until the bottom is overwritten: over the end of the stack, not of the gap
 * below it. */
static void recurse_a_little_entry(void) {
    pn_context_entered(&running->context);
    bottomless = 0;
    unsigned depth = 0;
    while (pn_stack_intact(&running->stack) && depth < 1000) {
        recurse(depth += 5);
    }
    coroutine_pause();
}

static void overflow_canary(void) {
    start(PIRN_GUARD_CANARY);
    run_named("req /chat", PN_STACK_BYTES_DEFAULT, recurse_a_little_entry);
    if (!pn_stack_intact(subject.stack)) {
        pn_stack_overflow_panic(&subject);
    }
}

/* Goal: under canaries an overflow is found at the next switch and reported alike; that is a panic, hence SIGABRT.
 * Method: a child recurses just over the bottom, comes back, switches and looks. */
Test(stack_overflow, recursion_canary_is_named) {
    expect_line(overflow_canary, SIGABRT,
                "pirn: tasklet 0.44 \"req /chat\" overflowed its 64 KiB stack (canary overwritten). Spawn it with "
                ".stack_bytes = 262144, or run with a larger stack_bytes. Guard: canary.\n");
}

static void smash_canary_then_fault_entry(void) {
    pn_context_entered(&running->context);
    memset(running->stack.bottom, 0, 64);
    *nowhere = 1;
}

static void fault_after_overflow(void) {
    start(PIRN_GUARD_CANARY);
    run_named("deep", PN_STACK_BYTES_DEFAULT, smash_canary_then_fault_entry);
}

/* Goal: a tasklet that faults somewhere because it overwrote what lay below its stack is told as what it is.
 * Method: overwrite the canary, then fault at once. */
Test(stack_overflow, fault_with_dead_canary_is_called_an_overflow) {
    expect_line(fault_after_overflow, SIGSEGV,
                "pirn: tasklet 0.44 \"deep\" overflowed its 64 KiB stack (canary overwritten).");
}

static __attribute__((noinline)) void use_large_frame(void) {
    char frame[300 << 10];
    __asm__ volatile("" : : "r"(frame) : "memory"); /* all of it is needed, for all that a compiler knows */
    /* The far end: without -fstack-clash-protection the first byte that is touched, 236 KiB below the stack. */
    frame[0] = 1;
    __asm__ volatile("" : : "r"(frame) : "memory");
}

static void large_frame_entry(void) {
    pn_context_entered(&running->context);
    use_large_frame();
}

static void overflow_by_one_frame(void) {
    start(PIRN_GUARD_AUTO);
    run_named("large", PN_STACK_BYTES_DEFAULT, large_frame_entry);
}

/* Goal: a single frame larger than stack and guard together does not step over the guard.
 * Method: a child calls a function with 300 KiB of locals. */
Test(stack_overflow, large_frame_hits_the_guard) {
    expect_line(overflow_by_one_frame, SIGSEGV,
                "pirn: tasklet 0.44 \"large\" overflowed its 64 KiB stack (guard page hit).");
}

static void overflow_largest(void) {
    start(PIRN_GUARD_MPROTECT);
    run_named("", PN_STACK_BYTES_MAX, recurse_entry);
}

/* Goal: the cure is never a size that cannot be had; a tasklet without a name is told by its number.
 * Method: overflow the largest stack there is, without a name. */
Test(stack_overflow, largest_stack_offers_no_larger_one) {
    expect_line(overflow_largest, SIGSEGV,
                "pirn: tasklet 0.44 overflowed its 65536 KiB stack (guard page hit). There is no larger one:");
}

static void *overflow_thread(void *arg) {
    (void)arg;
    overflow_mprotect();
    return NULL;
}

static void overflow_second_thread(void) {
    pthread_t thread;
    start(PIRN_GUARD_MPROTECT);
    pthread_create(&thread, NULL, overflow_thread, NULL);
    pthread_join(thread, NULL);
}

/* Goal: every thread that was set up reports, not only the first.
 * Method: the main thread is set up too; a second one overflows. */
Test(stack_overflow, second_thread_is_named_too) {
    expect_line(overflow_second_thread, SIGSEGV,
                "pirn: tasklet 0.44 \"req /chat\" overflowed its 64 KiB stack (guard page hit).");
}

/* ---- other faults ---- */

static void null_entry(void) {
    pn_context_entered(&running->context);
    *nowhere = 1;
}

static void fault_in_tasklet(void) {
    start(PIRN_GUARD_MPROTECT);
    run_named("bad", PN_STACK_BYTES_DEFAULT, null_entry);
}

/* Goal: another fault names the address and the tasklet, and dies by its signal.
 * Method: a child writes to address 0x40 in a tasklet. */
Test(stack_overflow, fault_elsewhere_names_address_and_tasklet) {
    expect_line(fault_in_tasklet, SIGSEGV, "pirn: SIGSEGV at 0x40 in tasklet 0.44 \"bad\"\n");
}

static void bus_error(void) {
    start(PIRN_GUARD_AUTO);
    int file = memfd_create("empty", MFD_CLOEXEC);
    volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    cr_assert_neq((void *)page, MAP_FAILED);
    (void)page[0];
}

/* Goal: SIGBUS is told too, and that no tasklet was running.
 * Method: read a mapping beyond the end of its file, on the thread's own stack. */
Test(stack_overflow, bus_error_outside_of_tasklets_is_told) {
    child_end end = run_child(bus_error);
    expect_said(&end, "pirn: SIGBUS at 0x");
    expect_said(&end, " outside of any tasklet\n");
    expect_killed(&end, SIGBUS);
    free(end.text);
}

static void sent_signal(void) {
    start(PIRN_GUARD_AUTO);
    raise(SIGSEGV);
    _exit(3); /* it must not survive */
}

/* Goal: a SIGSEGV that somebody sent kills as well, though it would not come again by itself.
 * Method: a child raises it. */
Test(stack_overflow, sent_signal_kills_and_is_told) {
    expect_line(sent_signal, SIGSEGV, "pirn: SIGSEGV sent by process ");
}

static void earlier_handler(int signal, siginfo_t *info, void *machine) {
    (void)machine;
    _exit(signal == SIGSEGV && info->si_addr == (void *)0x40 ? 17 : 18);
}

static void fault_with_earlier_handler(void) {
    struct sigaction action = {.sa_sigaction = earlier_handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    fault_in_tasklet();
}

/* Goal: a handler that was there before us still gets the signal, after our line.
 * Method: a child with one that exits with 17. */
Test(stack_overflow, earlier_handler_is_called_after_us) {
    child_end end = run_child(fault_with_earlier_handler);
    cr_assert(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 17, "status %#x: %s", (unsigned)end.status, end.text);
    cr_assert_str_eq(end.text, "pirn: SIGSEGV at 0x40 in tasklet 0.44 \"bad\"\n");
    free(end.text);
}

static void *fault_plainly(void *arg) {
    *nowhere = 1;
    return arg;
}

static void foreign_fault(void) {
    pthread_t thread;
    start(PIRN_GUARD_MPROTECT);
    pthread_create(&thread, NULL, fault_plainly, NULL);
    pthread_join(thread, NULL);
}

/* Goal: a thread that is none of ours dies as it would have died without us: silently.
 * Method: a plain thread beside one that was set up faults. */
Test(stack_overflow, foreign_thread_is_none_of_ours) {
    child_end end = run_child(foreign_fault);
    cr_assert_null(strstr(end.text, "pirn:"));
    expect_killed(&end, SIGSEGV);
    free(end.text);
}

/* Goal: init and fini in turn leave the thread's alternate stack as it was.
 * Method: compare it before and after; run it many times, which would run out of mappings if one stayed. */
Test(stack_overflow, thread_fini_restores_the_alternate_stack) {
    stack_t before, within, after;
    pn_below = &pn_hooks_alone;
    cr_assert_eq(sigaltstack(NULL, &before), 0);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(pn_stack_thread_init(describe), 0);
        sigaltstack(NULL, &within);
        cr_assert_geq(within.ss_size, 65536);
        pn_stack_thread_fini();
    }
    sigaltstack(NULL, &after);
    cr_assert_eq(after.ss_flags & SS_DISABLE, before.ss_flags & SS_DISABLE);
    cr_assert((after.ss_flags & SS_DISABLE) || after.ss_sp == before.ss_sp);
    pn_stack_thread_fini(); /* once too often is harmless */
}
