/* SPDX-License-Identifier: MIT
 *
 * What: what AddressSanitizer, LeakSanitizer, ThreadSanitizer and valgrind are told of contexts: the one file that
 *       knows them. In a build without them every function here is empty.
 * Threads: as the function of context.c that calls it.
 * Invariants: (1) ASan: each pn_tools_leave on one stack is completed by one arrival on the next: pn_tools_arrive
 *       after a switch returned, pn_tools_entered on a fresh stack. (2) TSan: nothing stands between pn_tools_leave
 *       and the swap, and all three are in one function: TSan keeps one shadow call stack per context, and a function
 *       that was entered on one must not be left on another. That is also why pn_tools_arrive is never empty there: a
 *       swap in tail position would be "left" before it is made.
 * Rejected: valgrind's requests in release: a few nanoseconds per spawn for builds that nobody debugs.
 */
#ifndef PN_CONTEXT_TOOLS_H
#define PN_CONTEXT_TOOLS_H

#include "context.h"

#if defined(__SANITIZE_ADDRESS__)
#define PN_TOOLS_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define PN_TOOLS_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PN_TOOLS_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define PN_TOOLS_TSAN 1
#endif
#endif

#if defined(PN_TOOLS_ASAN)
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

/* The running thread's own stack. When the system cannot tell, ASan goes on as if the thread had none. */
static inline void pn_tools_thread_stack(pn_context *context) {
    pthread_attr_t attributes;
    void *bottom = NULL;
    size_t bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        (void)pthread_attr_getstack(&attributes, &bottom, &bytes);
        pthread_attr_destroy(&attributes);
    }
    context->bottom = bottom;
    context->bytes = bytes;
}

/* Pointers that live on the stack of a parked context keep their memory from being called a leak at exit(3). */
static inline void pn_tools_stack_begin(pn_context *context) {
    __lsan_register_root_region(context->bottom, context->bytes);
}

/* The shadow still holds the red zones of frames that were never left: they would condemn the stack's next user. */
static inline void pn_tools_stack_end(pn_context *context) {
    __lsan_unregister_root_region(context->bottom, context->bytes);
    __asan_unpoison_memory_region(context->bottom, context->bytes);
}

static inline void pn_tools_thread_begin(pn_context *context) {
    pn_tools_thread_stack(context);
    __lsan_register_root_region(context->bottom, context->bytes);
}

static inline void pn_tools_thread_end(pn_context *context) {
    __lsan_unregister_root_region(context->bottom, context->bytes);
}

static inline __attribute__((always_inline)) void pn_tools_leave(pn_context *from, pn_context *to) {
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
}

/* NULL: the fake stack of `from` is not needed again. */
static inline __attribute__((always_inline)) void pn_tools_leave_for_good(pn_context *from, pn_context *to) {
    (void)from;
    __sanitizer_start_switch_fiber(NULL, to->bottom, to->bytes);
}

static inline __attribute__((always_inline)) void pn_tools_arrive(pn_context *context) {
    __sanitizer_finish_switch_fiber(context->fake_stack, NULL, NULL);
}

static inline void pn_tools_entered(pn_context *context) {
    (void)context;
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
}

#elif defined(PN_TOOLS_TSAN)
#include <sanitizer/tsan_interface.h>

static inline void pn_tools_stack_begin(pn_context *context) {
    context->tsan_fiber = __tsan_create_fiber(0);
}

static inline void pn_tools_stack_end(pn_context *context) {
    __tsan_destroy_fiber(context->tsan_fiber);
    context->tsan_fiber = NULL;
}

static inline void pn_tools_thread_begin(pn_context *context) {
    context->tsan_fiber = __tsan_get_current_fiber();
}

static inline void pn_tools_thread_end(pn_context *context) {
    context->tsan_fiber = NULL;
}

/* Flag 0: what `from` did happens before what `to` does. They share a thread, so it does. */
static inline __attribute__((always_inline)) void pn_tools_leave(pn_context *from, pn_context *to) {
    (void)from;
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
}

static inline __attribute__((always_inline)) void pn_tools_leave_for_good(pn_context *from, pn_context *to) {
    pn_tools_leave(from, to);
}

static inline __attribute__((always_inline)) void pn_tools_arrive(pn_context *context) {
    __asm__ volatile("" : : "r"(context) : "memory");
}

static inline void pn_tools_entered(pn_context *context) {
    (void)context;
}

#else
#if !defined(NDEBUG) && __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(lowest, highest) ((void)(lowest), (void)(highest), 0u)
#define VALGRIND_STACK_DEREGISTER(id)            ((void)(id))
#endif

static inline void pn_tools_stack_begin(pn_context *context) {
    const char *bottom = context->bottom;
    context->valgrind_id = VALGRIND_STACK_REGISTER(bottom, bottom + context->bytes);
}

static inline void pn_tools_stack_end(pn_context *context) {
    VALGRIND_STACK_DEREGISTER(context->valgrind_id);
}

static inline void pn_tools_thread_begin(pn_context *context) {
    (void)context;
}

static inline void pn_tools_thread_end(pn_context *context) {
    (void)context;
}

static inline void pn_tools_leave(pn_context *from, pn_context *to) {
    (void)from;
    (void)to;
}

static inline void pn_tools_leave_for_good(pn_context *from, pn_context *to) {
    (void)from;
    (void)to;
}

static inline void pn_tools_arrive(pn_context *context) {
    (void)context;
}

static inline void pn_tools_entered(pn_context *context) {
    (void)context;
}
#endif

#endif
