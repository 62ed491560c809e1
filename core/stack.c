/* SPDX-License-Identifier: MIT
 *
 * What: tasklet stacks. A slab is one mapping cut into strides of guard and stack; the stacks that nobody uses wait
 *       in a last-in-first-out list of their size class.
 *
 *           slab:  | guard 64 KiB | stack | guard 64 KiB | stack | ...      stacks grow down, towards their own guard
 *
 * Threads: a cache belongs to one scheduler; caches share nothing but the budget of stack_guard.c.
 * Invariants: (1) `free` has room for every stack that was ever cut, so putting one back cannot fail; (2) in `free`
 *       the first `untouched` stacks were not used since the last trim, and the pages of the first `given_back` of them
 *       belong to the system again: given_back <= untouched <= free_count; (3) the guards of one slab are of one kind.
 * Lifetime: a stack is cut from its slab when it is first needed, and guarded then; slabs live as long as their
 *       cache.
 * Rejected: links inside the free stacks: they keep, or bring back, a page of each; one mmap per stack: 1 to 5 us a
 *       spawn; guarding a whole slab at once: a stall of some hundred microseconds, for stacks that may never be
 *       needed; one page of guard: a frame of a foreign library that is larger than a page would step over it; giving
 *       back at each sleep all but a few: 512 connections whose requests come in bursts then took 3 times the CPU,
 *       for pages that went and came with each burst.
 */
#include "stack.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc.h"
#include "hooks.h"
#include "reserve.h"
#include "stack_guard.h"

enum {
    SLAB_STACKS_MIN = 16, /* few: every worker and every size in use has a slab of its own */
    SLAB_STACKS_MAX = 256,
    SLAB_BYTES_MAX = 64 << 20, /* of address space */
    WARM_STACKS_MAX = 64,      /* kept with their pages in each class when the rest is given back ... */
    WARM_BYTES_MAX = 4 << 20,  /* ... unless that might hold more than this */
    COLOUR_STEP = 64,
    COLOURS = 16,
};

#define TELL_NS (60 * PIRN_SECOND) /* between two lines about refused stacks */

typedef struct pn_slab {
    struct pn_slab *next;
    char *base;
    uint32_t stacks, cut; /* how many it has room for, and how many of them were handed out              */
    pirn_guard guard;
} pn_slab;

typedef struct pn_stack_class {
    struct pn_stack_class *next;
    uint32_t bytes; /* usable, of each stack                                                             */
    uint32_t cut;   /* of all slabs                                                                      */
    pn_slab *slabs; /* the newest first: only that one may have uncut stacks                             */
    pn_stack *free;
    uint32_t free_count, free_max, untouched, given_back;
} pn_stack_class;

/* ---- slabs ---- */

static size_t class_stride(const pn_stack_class *size_class) {
    return (size_t)size_class->bytes + PN_STACK_GUARD_BYTES;
}

/* As many again as the class has: a burst of a million takes some thousand mappings, a small program takes little. */
static uint32_t slab_stacks(const pn_stack_class *size_class) {
    uint32_t stacks = size_class->cut < SLAB_STACKS_MIN ? SLAB_STACKS_MIN : size_class->cut;
    uint32_t fit = (uint32_t)(SLAB_BYTES_MAX / class_stride(size_class));
    stacks = stacks < SLAB_STACKS_MAX ? stacks : SLAB_STACKS_MAX;
    stacks = stacks < fit ? stacks : fit;
    return stacks ? stacks : 1;
}

static bool free_list_reserve(pn_stack_class *size_class, uint32_t stacks) {
    if (stacks <= size_class->free_max) {
        return true;
    }
    uint32_t wanted = size_class->free_max * 2 > stacks ? size_class->free_max * 2 : stacks;
    pn_stack *list = pn_realloc(size_class->free, wanted * sizeof *list);
    if (!list) {
        return false;
    }
    size_class->free = list;
    size_class->free_max = wanted;
    return true;
}

/* Whether what is mapped now can have guards of that kind, and all of it that is not guarded may be used. In locked
 * memory the mapping comes into memory here, so the guard is tried first. */
static bool slab_allow(char *base, size_t bytes, pirn_guard guard) {
    return guard == PIRN_GUARD_MPROTECT || /* one stack at a time */
           (pn_guard_install(guard, base, 0) && pn_reserve_allow(base, bytes));
}

/* No swap is set aside for a slab: a million stacks of 64 KiB are 128 GiB of addresses, but a few GiB of memory. */
static char *slab_map(size_t bytes, pirn_guard guard) {
    char *base = pn_reserve(bytes, false);
    if (!base) {
        return NULL;
    }
    /* A huge page would be two megabytes for one shallow tasklet. A kernel that has none refuses, rightly. */
    (void)madvise(base, bytes, MADV_NOHUGEPAGE);
    if (!slab_allow(base, bytes, guard)) {
        int error = errno;
        munmap(base, bytes);
        errno = error;
        return NULL;
    }
    return base;
}

/* NULL without memory, or when the system refuses this many, or this guard. */
static pn_slab *slab_create(pn_stack_class *size_class, pirn_guard guard, uint32_t stacks) {
    if (!pn_guard_reserve(guard, stacks)) {
        return NULL;
    }
    pn_slab *slab = pn_malloc(sizeof *slab);
    if (!slab || !free_list_reserve(size_class, size_class->cut + stacks)) {
        goto free_slab;
    }
    char *base = slab_map(stacks * class_stride(size_class), guard);
    if (!base) {
        goto free_slab;
    }
    *slab = (pn_slab){.next = size_class->slabs, .base = base, .stacks = stacks, .guard = guard};
    size_class->slabs = slab;
    return slab;

free_slab:
    pn_free(slab);
    pn_guard_release(guard, stacks);
    return NULL;
}

static void slab_destroy_newest(pn_stack_class *size_class) {
    pn_slab *slab = size_class->slabs;
    size_class->slabs = slab->next;
    munmap(slab->base, slab->stacks * class_stride(size_class));
    pn_guard_release(slab->guard, slab->stacks);
    pn_free(slab);
}

/* Hand out the next stack of the newest slab. False when there is none, or the system refuses to guard it. */
static bool slab_cut(pn_stack_class *size_class, pn_stack *stack) {
    pn_slab *slab = size_class->slabs;
    if (!slab || slab->cut == slab->stacks) {
        return false;
    }
    char *guard = slab->base + slab->cut * class_stride(size_class);
    if (!pn_guard_install(slab->guard, guard, size_class->bytes)) {
        return false;
    }
    *stack = (pn_stack){.bottom = guard + PN_STACK_GUARD_BYTES,
                        .bytes = size_class->bytes,
                        .colour = size_class->cut % COLOURS * COLOUR_STEP,
                        .canary = slab->guard == PIRN_GUARD_CANARY};
    slab->cut++;
    size_class->cut++;
    return true;
}

/* A stack that nobody had before, under the best guard that can be had now: mlockall(2) takes away the first kind, a
 * spent budget or other users of mappings the second. */
static int class_cut(pn_stack_class *size_class, pn_stack *stack) {
    if (slab_cut(size_class, stack)) {
        return 0;
    }
    uint32_t stacks = slab_stacks(size_class);
    for (; stacks > 0; stacks /= 2) { /* a limit on address space may leave room for fewer */
        for (pirn_guard guard = pn_stack_guard(); guard <= PIRN_GUARD_CANARY; guard++) {
            if (!slab_create(size_class, guard, stacks)) {
                continue;
            }
            if (slab_cut(size_class, stack)) {
                return 0;
            }
            slab_destroy_newest(size_class);
        }
    }
    return PIRN_ENOMEM;
}

/* At most one line in TELL_NS: with spawns that go on failing there would be one for each. */
static void tell_refused(pn_stack_cache *cache, const pn_stack_class *size_class, int error) {
    pirn_time now = pn_below->now();
    if (cache->told_at == 0 || now - cache->told_at >= TELL_NS) {
        cache->told_at = now;
        pn_reserve_tell("no stack for a tasklet", class_stride(size_class), error);
    }
}

/* ---- classes ---- */

/* Four sizes per doubling (16, 20, 24, 28, 32, 40 KiB ...), in whole pages: at most 49 classes, whatever is asked
 * for. */
static uint32_t class_bytes(size_t bytes) {
    size_t size = bytes < PN_STACK_BYTES_MIN ? PN_STACK_BYTES_MIN : bytes;
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t step = PN_STACK_BYTES_MIN / 4;
    while (step * 8 < size) {
        step *= 2;
    }
    step = step < page_bytes ? page_bytes : step;
    return (uint32_t)((size + step - 1) / step * step);
}

static pn_stack_class *class_find(const pn_stack_cache *cache, size_t bytes) {
    pn_stack_class *size_class = cache->classes;
    while (size_class && size_class->bytes != bytes) {
        size_class = size_class->next;
    }
    return size_class;
}

static pn_stack_class *class_find_or_create(pn_stack_cache *cache, uint32_t bytes) {
    pn_stack_class **place = &cache->classes;
    while (*place && (*place)->bytes != bytes) {
        place = &(*place)->next;
    }
    if (!*place) {
        *place = pn_calloc(1, sizeof **place);
        if (*place) {
            (*place)->bytes = bytes;
        }
    }
    return *place;
}

static void class_destroy(pn_stack_class *size_class) {
    while (size_class->slabs) {
        slab_destroy_newest(size_class);
    }
    pn_free(size_class->free);
    pn_free(size_class);
}

/* ---- the cache ---- */

void pn_stack_cache_init(pn_stack_cache *cache) {
    *cache = (pn_stack_cache){0};
}

void pn_stack_cache_fini(pn_stack_cache *cache) {
    PN_ASSERT(cache->in_use == 0);
    while (cache->classes) {
        pn_stack_class *size_class = cache->classes;
        cache->classes = size_class->next;
        class_destroy(size_class);
    }
    cache->cached = 0;
}

/* The last one that was put back: its pages and cache lines are the warmest. */
static void take_free(pn_stack_cache *cache, pn_stack_class *size_class, pn_stack *stack) {
    *stack = size_class->free[--size_class->free_count];
    if (size_class->untouched > size_class->free_count) {
        size_class->untouched = size_class->free_count;
        if (size_class->given_back > size_class->untouched) {
            size_class->given_back = size_class->untouched;
        }
    }
    cache->cached--;
    cache->in_use++;
    if (PN_UNLIKELY(stack->canary)) {
        pn_guard_write_canary(stack); /* again: its page may have been given back */
    }
}

/* A size that is not a class's own, or a class that has no free stack. */
static __attribute__((noinline)) int get_cold(pn_stack_cache *cache, size_t bytes, pn_stack *stack) {
    PN_ASSERT(pn_stack_guard() != PIRN_GUARD_AUTO); /* pn_stack_setup comes first */
    if (bytes > PN_STACK_BYTES_MAX) {
        return PIRN_ENOMEM;
    }
    pn_stack_class *size_class = class_find_or_create(cache, class_bytes(bytes));
    if (!size_class) {
        return PIRN_ENOMEM;
    }
    if (size_class->free_count > 0) {
        take_free(cache, size_class, stack);
        return 0;
    }
    errno = ENOMEM;
    int error = class_cut(size_class, stack);
    if (error != 0) {
        tell_refused(cache, size_class, errno);
        return error;
    }
    cache->in_use++;
    if (stack->canary) {
        pn_guard_write_canary(stack);
    }
    return 0;
}

int pn_stack_get(pn_stack_cache *cache, size_t bytes, pn_stack *stack) {
    pn_stack_class *size_class = class_find(cache, bytes);
    if (PN_UNLIKELY(!size_class || size_class->free_count == 0)) {
        return get_cold(cache, bytes, stack);
    }
    take_free(cache, size_class, stack);
    return 0;
}

void pn_stack_put(pn_stack_cache *cache, pn_stack *stack) {
    pn_stack_class *size_class = class_find(cache, stack->bytes);
    PN_ASSERT(size_class && size_class->free_count < size_class->cut);
    PN_DCHECK(pn_stack_intact(stack));
    size_class->free[size_class->free_count++] = *stack;
    *stack = (pn_stack){0};
    cache->in_use--;
    cache->cached++;
}

/* How many of a class's free stacks keep their pages. */
static uint32_t class_warm(const pn_stack_class *size_class) {
    uint32_t fit = WARM_BYTES_MAX / size_class->bytes;
    return fit < WARM_STACKS_MAX ? fit : WARM_STACKS_MAX;
}

bool pn_stack_surplus(const pn_stack_cache *cache) {
    for (const pn_stack_class *size_class = cache->classes; size_class; size_class = size_class->next) {
        if (size_class->given_back + class_warm(size_class) < size_class->free_count) {
            return true;
        }
    }
    return false;
}

/* Some microseconds for each stack given back, and on a virtual machine 100: the other threads' processors are told. */
bool pn_stack_trim(pn_stack_cache *cache, unsigned stacks_max) {
    for (pn_stack_class *size_class = cache->classes; size_class; size_class = size_class->next) {
        while (size_class->given_back < size_class->untouched &&
               size_class->given_back + class_warm(size_class) < size_class->free_count) {
            if (stacks_max-- == 0) {
                return false;
            }
            const pn_stack *stack = &size_class->free[size_class->given_back++];
            (void)madvise(stack->bottom, stack->bytes, MADV_DONTNEED);
        }
    }
    for (pn_stack_class *size_class = cache->classes; size_class; size_class = size_class->next) {
        size_class->untouched = size_class->free_count;
    }
    return true;
}
