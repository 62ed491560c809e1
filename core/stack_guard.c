/* SPDX-License-Identifier: MIT
 *
 * What: the three kinds of guard. MADV_GUARD_INSTALL (Linux 6.13) marks pages as forbidden without a mapping of their
 *       own; mprotect splits a mapping in two for each stack, and a process has vm.max_map_count of them; a canary
 *       costs nothing in the kernel, but tells of an overflow only afterwards.
 * Threads: pn_stack_setup before the first cache; all else from any thread. The shared counts are pn_words.
 * Invariants: (1) the mappings that the mprotect guards of live slabs may cause are in `mappings`, and no more than
 *       half of what the process may have; (2) each warning is printed once per process.
 * Rejected: to believe madvise's return value: emulators accept advice they do not know, and guard nothing.
 */
#include "stack_guard.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hooks.h"
#include "reserve.h"

enum {
    GUARD_INSTALL = 102,    /* MADV_GUARD_INSTALL, for which glibc 2.36 has no name */
    CANARY_WORDS = 8,       /* one cache line: a frame seldom writes all of itself, one word it may miss */
    MAPPINGS_PER_STACK = 2, /* an mprotect guard and the stack above it */
    MAX_MAP_COUNT_DEFAULT = 65530,
};

#define CANARY UINT64_C(0x9e3779b97f4a7c15)

static struct {
    pirn_guard guard; /* AUTO: pn_stack_setup was not called                                             */
    uint32_t map_count_max, mappings_max;
    pn_word mappings;
    pn_word exhausted, fallback_told;
} guards;

/* ---- choosing ---- */

/* Whether the kernel refuses to read `page`: asked through a pipe, so that the answer is EFAULT and not a signal. */
static bool is_unreadable(const void *page) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    bool unreadable = write(ends[1], page, 1) < 0;
    close(ends[0]);
    close(ends[1]);
    return unreadable;
}

/* Tried, not asked: the guard must hold, and survive what pn_stack_trim does. */
static bool madvise_guards_work(void) {
    void *at = mmap(NULL, PN_STACK_GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return false;
    }
    bool work = pn_guard_install(PIRN_GUARD_MADVISE, at, 0) && madvise(at, PN_STACK_GUARD_BYTES, MADV_DONTNEED) == 0 &&
                is_unreadable(at);
    munmap(at, PN_STACK_GUARD_BYTES);
    return work;
}

static uint32_t read_map_count_max(void) {
    char text[32] = "";
    int file = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t length = read(file, text, sizeof text - 1);
        text[length > 0 ? length : 0] = '\0';
        close(file);
    }
    unsigned long count = strtoul(text, NULL, 10);
    return count > 0 && count <= UINT32_MAX / 4 ? (uint32_t)count : MAX_MAP_COUNT_DEFAULT;
}

static void tell_fallback(void) {
    if (pn_below->claim(&guards.fallback_told, 0, 1)) {
        pn_warn("stacks are guarded by mprotect (no MADV_GUARD_INSTALL here): %u of them, later ones by a canary only; "
                "cure: sysctl vm.max_map_count=%u",
                guards.mappings_max / MAPPINGS_PER_STACK, guards.map_count_max * 4);
    }
}

static void tell_exhausted(void) {
    if (pn_below->claim(&guards.exhausted, 0, 1)) {
        pn_warn("the budget of mprotect stack guards is spent (%u stacks, half of vm.max_map_count = %u): newer stacks "
                "have a canary only; cure: sysctl vm.max_map_count=%u",
                guards.mappings_max / MAPPINGS_PER_STACK, guards.map_count_max, guards.map_count_max * 4);
    }
}

int pn_stack_setup(pirn_guard wanted) {
    guards.map_count_max = read_map_count_max();
    guards.mappings_max = guards.map_count_max / 2;
    if (wanted == PIRN_GUARD_MPROTECT || wanted == PIRN_GUARD_CANARY) {
        guards.guard = wanted;
    } else if (madvise_guards_work()) {
        guards.guard = PIRN_GUARD_MADVISE;
    } else if (wanted == PIRN_GUARD_AUTO) {
        guards.guard = PIRN_GUARD_MPROTECT;
        tell_fallback();
    } else {
        pn_warn("no MADV_GUARD_INSTALL here (it takes Linux 6.13 and memory that is not locked): choose another guard");
        return PIRN_EINVAL;
    }
    return 0;
}

pirn_guard pn_stack_guard(void) {
    return guards.guard;
}

bool pn_stack_guards_exhausted(void) {
    return pn_below->load(&guards.exhausted) != 0;
}

/* ---- the budget ---- */

bool pn_guard_reserve(pirn_guard guard, uint32_t stacks) {
    uint32_t mappings = stacks * MAPPINGS_PER_STACK;
    if (guard != PIRN_GUARD_MPROTECT || pn_below->add(&guards.mappings, mappings) <= guards.mappings_max) {
        return true;
    }
    (void)pn_below->add(&guards.mappings, -mappings);
    tell_exhausted();
    return false;
}

void pn_guard_release(pirn_guard guard, uint32_t stacks) {
    if (guard == PIRN_GUARD_MPROTECT) {
        (void)pn_below->add(&guards.mappings, -(stacks * MAPPINGS_PER_STACK));
    }
}

/* ---- guarding ---- */

bool pn_guard_install(pirn_guard guard, void *at, size_t stack_bytes) {
    switch (guard) {
    case PIRN_GUARD_MADVISE:
        return madvise(at, PN_STACK_GUARD_BYTES, GUARD_INSTALL) == 0;
    case PIRN_GUARD_MPROTECT:
        /* The slab was mapped without permissions, and what is below the stack stays so. */
        if (!pn_reserve_allow((char *)at + PN_STACK_GUARD_BYTES, stack_bytes)) {
            tell_exhausted(); /* others use so many mappings that our half is not to be had */
            return false;
        }
        return true;
    default:
        return true; /* a canary is written each time the stack is handed out */
    }
}

void pn_guard_write_canary(const pn_stack *stack) {
    uint64_t *words = stack->bottom;
    for (int i = 0; i < CANARY_WORDS; i++) {
        words[i] = CANARY;
    }
}

/* Unseen by AddressSanitizer: the fault handler looks here while frames of an overflow, red zones and all, may lie
 * there. */
__attribute__((no_sanitize("address"))) bool pn_stack_intact(const pn_stack *stack) {
    if (!stack->canary) {
        return true;
    }
    const uint64_t *words = stack->bottom;
    uint64_t difference = 0;
    for (int i = 0; i < CANARY_WORDS; i++) {
        difference |= words[i] ^ CANARY;
    }
    return difference == 0;
}
