/* SPDX-License-Identifier: MIT
 *
 * What: assertions, container_of and the few compile-time facts that every folder uses.
 * Threads: any. Nothing here has state.
 */
#ifndef PN_BASE_H
#define PN_BASE_H

#include <stddef.h>
#include <stdint.h>

#include <pirn/base.h>

#define PN_CACHELINE 64

#define PN_CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define PN_LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define PN_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* One readable line and abort: for bugs, ours and the caller's, never for errors. */
_Noreturn void pn_panic(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* One line on stderr, "pirn: ...": for warnings and reports. Any thread; safe where malloc is not. */
void pn_warn(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* Always on, in release too. */
#define PN_ASSERT(condition)                                                                                           \
    (PN_LIKELY(condition) ? (void)0 : pn_panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #condition))

/* For checks too dear for release. */
#ifdef NDEBUG
#define PN_DCHECK(condition) ((void)0)
#else
#define PN_DCHECK(condition) PN_ASSERT(condition)
#endif

#endif
