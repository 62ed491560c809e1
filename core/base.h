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

/* One line on stderr, "pirn: ...". Any thread; safe where malloc is not. Of one kind, which is the format's address,
 * each thread writes PN_WARN_BURST lines a second and counts the others: "N more like this". Bytes that could steer a
 * terminal are written as \xHH. */
#define PN_WARN_BURST 10
void pn_warn(const char *format, ...) __attribute__((format(printf, 1, 2), cold));
/* The same for a ready text; `name` is the kind: a literal. */
void pn_warn_as(const char *name, const char *text) __attribute__((cold));
/* One line of a report: without the limit, for the report has its own. */
void pn_tell(const char *format, ...) __attribute__((format(printf, 1, 2), cold));
/* The calling thread: tell what was only counted. Each thread of the runtime does so before it ends. */
void pn_warn_flush(void);
/* How many lines of the calling thread were only counted since it started. */
uint64_t pn_warn_left_out(void);

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
