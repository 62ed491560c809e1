/* SPDX-License-Identifier: MIT
 *
 * What: tells ThreadSanitizer about the hand-over that lf_stack_ck.c makes with instructions it can't see. Nothing in
 *       other builds.
 * Threads: any.
 * Why the message's address and not the queue's: an annotation on the queue would order all producers with one another
 *       and so hide races between them; one on the message orders only who pushed it with who took it, which is all
 *       that is promised.
 * Why ignore: ck's inline functions are plain C around assembler. Instrumented, their loads and stores look like races;
 *       and an attribute on our function does not reach into them, because a compiler does not inline across that
 *       boundary.
 */
#ifndef PN_LF_ANNOTATE_H
#define PN_LF_ANNOTATE_H

#include <pirn/base.h>

/* The one condition of the bridge: gcc and clang spell "built with TSan" differently. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PN_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) && !defined(PN_TSAN)
#define PN_TSAN 1
#endif

#ifdef PN_TSAN

void __tsan_acquire(void *address);
void __tsan_release(void *address);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

static inline void pn_annotate_publish(void *message) {
    __tsan_release(message);
}
static inline void pn_annotate_observe(void *message) {
    __tsan_acquire(message);
}
static inline void pn_annotate_ignore_begin(void) {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
static inline void pn_annotate_ignore_end(void) {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

#else

static inline void pn_annotate_publish(void *message) {
    (void)message;
}
static inline void pn_annotate_observe(void *message) {
    (void)message;
}
static inline void pn_annotate_ignore_begin(void) {
}
static inline void pn_annotate_ignore_end(void) {
}

#endif

#endif
