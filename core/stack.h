/* SPDX-License-Identifier: MIT
 *
 * What: tasklet stacks: cut from slabs, guarded, cached. A warm get and put make no system call and no malloc.
 * Threads: a pn_stack_cache belongs to one scheduler. pn_stack_setup is called once before any of them.
 * Invariants: (1) below each stack lies a guard of the kind that pn_stack_guard() tells, or, when a budget ran out, a
 *       canary only; (2) a stack in the cache is owned by nobody; (3) the kind of a stack is its slab's for life.
 */
#ifndef PN_STACK_H
#define PN_STACK_H

#include <pirn/runtime.h>

#include "base.h"
#include "list.h"

typedef struct pn_stack {
    void *bottom;    /* lowest usable address; NULL: none                                            */
    uint32_t bytes;  /* usable                                                                      */
    uint32_t colour; /* bytes to leave free at the top: 0, 64, ... 960                              */
    bool canary;     /* has a canary, 64 bytes at `bottom`                                          */
} pn_stack;

typedef struct pn_stack_cache {
    struct pn_stack_class *classes; /* one per stack size in use                                         */
    unsigned in_use, cached;
    pirn_time told_at; /* of refused stacks; 0: never                                            */
} pn_stack_cache;

#define PN_STACK_BYTES_MIN     16384u
#define PN_STACK_BYTES_DEFAULT 65536u
#define PN_STACK_BYTES_MAX     (64u << 20)

/* Choose the kind of guard: `wanted` or, for AUTO, the best that works here. PIRN_EINVAL with one line when `wanted`
 * cannot be had. */
int pn_stack_setup(pirn_guard wanted);
pirn_guard pn_stack_guard(void);
/* Whether the mprotect budget (half of vm.max_map_count) is spent: newer stacks have a canary only. */
bool pn_stack_guards_exhausted(void);

void pn_stack_cache_init(pn_stack_cache *cache);
/* Unmap everything. All stacks must have been put back. */
void pn_stack_cache_fini(pn_stack_cache *cache);

/* A stack of at least `bytes` usable bytes (rounded up to pages). 0, or PIRN_ENOMEM. */
int pn_stack_get(pn_stack_cache *cache, size_t bytes, pn_stack *stack);
void pn_stack_put(pn_stack_cache *cache, pn_stack *stack);
/* Whether more cached stacks than a small reserve have their memory. Cheap. */
bool pn_stack_surplus(const pn_stack_cache *cache);
/* Give the surplus back to the system, but for the stacks that were in use since the last trim: two trims some time
 * apart give back what a burst took, and nothing that the next burst of a busy program needs. No more than `stacks_max`
 * a call; false: that was not all, and the trim goes on with the next call. */
bool pn_stack_trim(pn_stack_cache *cache, unsigned stacks_max);

/* Whether the canary is intact; true for stacks without one. */
bool pn_stack_intact(const pn_stack *stack);

/* Handle stack overflow for this thread: an alternate signal stack, and (once per process) handlers for SIGSEGV and
 * SIGBUS that say which tasklet overflowed and the cure, through `describe`, then die by the signal; other faults get
 * a line too and the default action. Undone by pn_stack_thread_fini. `describe` must be async-signal-safe: it fills
 * in the running tasklet's name, number and stack, and returns false when none runs on this thread. */
typedef struct pn_overflow_subject {
    uint64_t id;
    const char *name;
    const pn_stack *stack;
} pn_overflow_subject;
typedef bool (*pn_describe_running)(pn_overflow_subject *subject);
int pn_stack_thread_init(pn_describe_running describe);
void pn_stack_thread_fini(void);
/* The guard bytes below each stack: a fault this close below `bottom` is an overflow. */
#define PN_STACK_GUARD_BYTES 65536u

/* The line and abort for a dead canary. */
_Noreturn void pn_stack_overflow_panic(const pn_overflow_subject *subject);

#endif
