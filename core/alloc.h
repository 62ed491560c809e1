/* SPDX-License-Identifier: MIT
 *
 * What: the one place where the four folders get memory and give it back. Each call is libc's own, inlined: it
 *       costs nothing, and an allocator other than libc's would be named here and nowhere else.
 * Threads: any.
 * Invariants: 1. No other file calls malloc and its kin (tests/tidy.sh looks). 2. What came from here, and only that,
 *             is given to pn_free, so the two can be counted against each other.
 * Lifetime: none of its own.
 * Rejected: a counter or a function pointer asked on each call: release would pay for a test. The tests that let the
 *           n-th allocation fail put their own functions in the place of libc's when they link (tests/fault/fault.c),
 *           so what they run is the very code that ships. Rejected, too: a second build of every folder for them.
 */
#ifndef PN_ALLOC_H
#define PN_ALLOC_H

#include <stdlib.h>
#include <string.h>

static inline void *pn_malloc(size_t bytes) {
    return malloc(bytes);
}

static inline void *pn_calloc(size_t count, size_t bytes) {
    return calloc(count, bytes);
}

static inline void *pn_realloc(void *memory, size_t bytes) {
    return realloc(memory, bytes);
}

static inline void *pn_reallocarray(void *memory, size_t count, size_t bytes) {
    return reallocarray(memory, count, bytes);
}

static inline void *pn_aligned_alloc(size_t alignment, size_t bytes) {
    return aligned_alloc(alignment, bytes);
}

static inline char *pn_strdup(const char *text) {
    return strdup(text);
}

static inline char *pn_strndup(const char *text, size_t bytes_max) {
    return strndup(text, bytes_max);
}

static inline void pn_free(void *memory) {
    free(memory);
}

#endif
