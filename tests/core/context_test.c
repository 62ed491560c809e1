/* SPDX-License-Identifier: MIT
 *
 * What: the switch keeps what the ABI says it must, floating point environments stay with those who asked, a parked
 *       shallow context costs one page, and misuse is caught.
 */
#include "child.h"

#include <execinfo.h>
#include <fenv.h>

static void setup(void) {
    stacks_setup(PIRN_GUARD_AUTO);
    pn_context_init_thread(&thread_context);
}

static void teardown(void) {
    pn_context_fini_thread(&thread_context);
    pn_stack_cache_fini(&stacks);
}

/* ---- registers ---- */

/* Opaque, so that its results must be kept over the switch, in registers as long as there are any. */
static __attribute__((noinline)) uint64_t mix(uint64_t seed, uint64_t index) {
    uint64_t value = (seed + index) * UINT64_C(0x9e3779b97f4a7c15);
    __asm__ volatile("" : "+r"(value));
    return value ^ value >> 29;
}

/* More live whole numbers and doubles than there are callee-saved registers, over one switch. True when all came
 * back. */
static __attribute__((noinline)) bool values_survive(uint64_t seed, void (*leave)(void)) {
    uint64_t a = mix(seed, 0), b = mix(seed, 1), c = mix(seed, 2), d = mix(seed, 3), e = mix(seed, 4), f = mix(seed, 5);
    uint64_t g = mix(seed, 6), h = mix(seed, 7), i = mix(seed, 8), j = mix(seed, 9), k = mix(seed, 10),
             l = mix(seed, 11);
    double p = (double)(a >> 12), q = (double)(b >> 12), r = (double)(c >> 12), s = (double)(d >> 12);
    double t = (double)(e >> 12), u = (double)(f >> 12), v = (double)(g >> 12), w = (double)(h >> 12);
    leave();
    bool whole = a == mix(seed, 0) && b == mix(seed, 1) && c == mix(seed, 2) && d == mix(seed, 3) &&
                 e == mix(seed, 4) && f == mix(seed, 5) && g == mix(seed, 6) && h == mix(seed, 7) &&
                 i == mix(seed, 8) && j == mix(seed, 9) && k == mix(seed, 10) && l == mix(seed, 11);
    bool real = p == (double)(a >> 12) && q == (double)(b >> 12) && r == (double)(c >> 12) && s == (double)(d >> 12) &&
                t == (double)(e >> 12) && u == (double)(f >> 12) && v == (double)(g >> 12) && w == (double)(h >> 12);
    return whole && real;
}

static coroutine first, second;
static unsigned rounds_done;
static bool all_survived = true;

static void values_entry(void) {
    pn_context_entered(&running->context);
    for (uint64_t seed = 1;; seed++) {
        all_survived = values_survive(seed * 7919, coroutine_pause) && all_survived;
        rounds_done++;
    }
}

static void resume_first(void) {
    coroutine_resume(&first);
}

/* Goal: callee-saved registers, whole and floating, belong to each context.
 * Method: thread and context both keep more values live than there are registers, over 1,000 switches. */
Test(context, switch_back_and_forth_keeps_all_values, .init = setup, .fini = teardown) {
    coroutine_start(&first, PN_STACK_BYTES_DEFAULT, values_entry);
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        cr_assert(values_survive(seed, resume_first));
    }
    cr_assert_eq(rounds_done, 999);
    cr_assert(all_survived);
    coroutine_end(&first);
}

/* ---- the stack ---- */

static uintptr_t entry_stack_pointer;

static void alignment_entry(void) {
    pn_context_entered(&running->context);
    entry_stack_pointer = (uintptr_t)__builtin_frame_address(0);
    char text[64];
    snprintf(text, sizeof text, "%.17g", 1.0 / 3.0); /* uses aligned vector moves: faults on a crooked stack */
    cr_assert_str_eq(text, "0.33333333333333331");
    coroutine_pause();
}

/* Goal: the entry runs near the top of its own stack, below its colour, aligned as the ABI wants.
 * Method: start one context for each of the 16 colours and look at its frame. */
Test(context, entry_every_colour_runs_aligned_below_the_top, .init = setup, .fini = teardown) {
    static coroutine all[16];
    for (int i = 0; i < 16; i++) {
        coroutine_start(&all[i], PN_STACK_BYTES_DEFAULT, alignment_entry);
        coroutine_resume(&all[i]);
        uintptr_t top = (uintptr_t)all[i].stack.bottom + all[i].stack.bytes - all[i].stack.colour;
        cr_assert_lt(entry_stack_pointer, top);
        cr_assert_gt(entry_stack_pointer, top - 1024);
        cr_assert_eq(entry_stack_pointer % 16, 0);
    }
    for (int i = 0; i < 16; i++) {
        coroutine_end(&all[i]);
    }
}

static void parked_entry(void) {
    pn_context_entered(&running->context);
    coroutine_pause();
}

/* Goal: a parked shallow context touches one page of its stack, whatever its colour.
 * Method: park 32 contexts on stacks nobody had before and count their pages in memory. */
Test(context, parked_shallow_touches_one_page, .init = setup, .fini = teardown) {
    static coroutine all[32];
    for (int i = 0; i < 32; i++) {
        coroutine_start(&all[i], PN_STACK_BYTES_DEFAULT, parked_entry);
        coroutine_resume(&all[i]);
    }
    for (int i = 0; i < 32; i++) {
        cr_assert_eq(pages_present(all[i].stack.bottom, all[i].stack.bytes), 1, "context %d", i);
        coroutine_end(&all[i]);
    }
}

static int frames_seen;

static __attribute__((noinline)) void count_frames(void) {
    void *frames[64];
    frames_seen = backtrace(frames, 64);
}

static void backtrace_entry(void) {
    pn_context_entered(&running->context);
    count_frames();
    coroutine_pause();
}

/* Goal: an unwinder ends at the bottom of a context instead of running into what lies above.
 * Method: unwind inside one: count_frames, its entry, and the start of the context are all there is. */
Test(context, backtrace_inside_ends_at_the_entry, .init = setup, .fini = teardown) {
    void *warm_up[1];
    backtrace(warm_up, 1); /* loads the unwinder, which takes more stack than a context should lend it */
    coroutine_start(&first, 256 << 10, backtrace_entry);
    coroutine_resume(&first);
    cr_assert_geq(frames_seen, 3);
    cr_assert_leq(frames_seen, is_sanitized() ? 5 : 3, "%d frames", frames_seen);
    coroutine_end(&first);
}

/* ---- leave ---- */

static unsigned ended;

static void leaving_entry(void) {
    coroutine *self = running;
    pn_context_entered(&self->context);
    char frame[2000];
    memset(frame, (int)ended, sizeof frame);
    __asm__ volatile("" : : "r"(frame) : "memory");
    ended++;
    pn_context_leave(&self->context, &thread_context);
}

/* Goal: a context that left for good is over, and its stack serves the next one as if it were new.
 * Method: 10,000 contexts, one after the other, on what must be one and the same stack. */
Test(context, leave_many_one_after_the_other_reuse_one_stack, .init = setup, .fini = teardown) {
    void *bottom = NULL;
    unsigned count = (unsigned)pirn_test_count(10000, 100);
    for (unsigned i = 0; i < count; i++) {
        coroutine_start(&first, PN_STACK_BYTES_DEFAULT, leaving_entry);
        bottom = bottom ? bottom : first.stack.bottom;
        cr_assert_eq(first.stack.bottom, bottom);
        coroutine_resume(&first);
        coroutine_end(&first);
    }
    cr_assert_eq(ended, count);
}

static void resume_dead(void) {
    setup();
    coroutine_start(&first, PN_STACK_BYTES_DEFAULT, leaving_entry);
    coroutine_resume(&first);
    coroutine_resume(&first);
}

/* Goal: to resume a context that left for good is a bug that is told, not a crash somewhere.
 * Method: a child does it. */
Test(context, switch_to_a_dead_one_panics) {
    child_end end = run_child(resume_dead);
    expect_killed(&end, SIGABRT);
    expect_said(&end, "assertion failed");
    free(end.text);
}

static void resume_itself(void) {
    setup();
    pn_context_switch(&thread_context, &thread_context);
}

/* Goal: to resume the running context is a bug that is told.
 * Method: a child switches from the thread's context to itself. */
Test(context, switch_to_the_running_one_panics) {
    child_end end = run_child(resume_itself);
    expect_killed(&end, SIGABRT);
    expect_said(&end, "assertion failed");
    free(end.text);
}

static void never_entry(void) {
    cr_assert_fail("nobody resumes it");
}

/* Goal: a context may be unmade before its first turn.
 * Method: make and unmake one, then use its stack for another. */
Test(context, unmake_never_resumed_frees_the_stack, .init = setup, .fini = teardown) {
    coroutine_start(&first, PN_STACK_BYTES_DEFAULT, never_entry);
    coroutine_end(&first);
    coroutine_start(&first, PN_STACK_BYTES_DEFAULT, leaving_entry);
    coroutine_resume(&first);
    coroutine_end(&first);
    cr_assert_eq(ended, 1);
}

/* ---- direct switches ---- */

enum { RING = 100 };
static coroutine ring[RING];
static uint64_t ring_turns, ring_turns_max;

static void ring_entry(void) {
    coroutine *self = running;
    pn_context_entered(&self->context);
    for (;;) {
        coroutine *next = &ring[(self - ring + 1) % RING];
        cr_assert_eq(self - ring, (ptrdiff_t)(ring_turns % RING));
        if (++ring_turns == ring_turns_max) {
            pn_context_switch(&self->context, &thread_context);
        }
        running = next;
        pn_context_switch(&self->context, &next->context);
    }
}

/* Goal: contexts switch straight to each other, without the thread's in between.
 * Method: 100 of them hand on in a ring a million times; each turn must be the right one's. */
Test(context, switch_direct_in_a_ring_keeps_order, .init = setup, .fini = teardown) {
    ring_turns_max = pirn_test_count(1000000, 10 * RING);
    for (int i = 0; i < RING; i++) {
        coroutine_start(&ring[i], PN_STACK_BYTES_MIN, ring_entry);
    }
    coroutine_resume(&ring[0]);
    cr_assert_eq(ring_turns, ring_turns_max);
    for (int i = 0; i < RING; i++) {
        coroutine_end(&ring[i]);
    }
}

/* ---- floating point environment ---- */

static int rounding_found[3];

static void rounding_entry(void) {
    coroutine *self = running;
    pn_context_entered(&self->context);
    rounding_found[0] = fegetround();
    fesetround(FE_UPWARD);
    coroutine_pause();
    rounding_found[1] = fegetround();
    running = &second;
    pn_context_switch(&self->context, &second.context);
    rounding_found[2] = fegetround();
    coroutine_pause();
}

static int second_rounding_found;

static void second_rounding_entry(void) {
    pn_context_entered(&running->context);
    second_rounding_found = fegetround();
    fesetround(FE_TOWARDZERO);
    coroutine_pause();
}

/* Goal: a context that keeps its environment starts with the initial one, finds its own again, and lends it to
 * nobody: not to the thread, and not to another that keeps its own, also when one switches straight to the other.
 * Method: two keepers and the thread with four different rounding modes. */
Test(context, float_env_asked_is_kept, .init = setup, .fini = teardown) {
    coroutine_start(&first, PN_STACK_BYTES_DEFAULT, rounding_entry);
    coroutine_start(&second, PN_STACK_BYTES_DEFAULT, second_rounding_entry);
    first.context.keeps = second.context.keeps = PN_KEEPS_FLOAT_ENV;
    fesetround(FE_DOWNWARD);
    coroutine_resume(&first);
    cr_assert_eq(rounding_found[0], FE_TONEAREST);
    cr_assert_eq(fegetround(), FE_DOWNWARD);
    coroutine_resume(&first); /* which goes on to the second, and that one back to us */
    cr_assert_eq(rounding_found[1], FE_UPWARD);
    cr_assert_eq(second_rounding_found, FE_TONEAREST);
    cr_assert_eq(fegetround(), FE_DOWNWARD);
    coroutine_resume(&first);
    cr_assert_eq(rounding_found[2], FE_UPWARD);
    cr_assert_eq(fegetround(), FE_DOWNWARD);
    fesetround(FE_TONEAREST);
    coroutine_end(&first);
    coroutine_end(&second);
}

/* Goal: without asking there is one environment for all of a thread, which costs no time.
 * Method: a context changes the rounding mode; the thread finds it changed, and changes it back for both. */
Test(context, float_env_not_asked_is_the_threads, .init = setup, .fini = teardown) {
    coroutine_start(&first, PN_STACK_BYTES_DEFAULT, rounding_entry);
    coroutine_start(&second, PN_STACK_BYTES_DEFAULT, parked_entry);
    fesetround(FE_DOWNWARD);
    coroutine_resume(&first);
    cr_assert_eq(rounding_found[0], FE_DOWNWARD);
    cr_assert_eq(fegetround(), FE_UPWARD);
    fesetround(FE_TONEAREST);
    coroutine_resume(&first);
    cr_assert_eq(rounding_found[1], FE_TONEAREST);
    coroutine_end(&first);
    coroutine_end(&second);
}
