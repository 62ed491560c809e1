/* SPDX-License-Identifier: MIT
 *
 * What: contexts in C: the order of what a switch does. The swap of stacks itself is in context_<machine>.S, the
 *       words for sanitizers and valgrind in context_tools.h.
 * Threads, States: as in context.h.
 * Invariants: (1) `sp` is NULL from the moment a context is resumed until it is left, and for ever in one that was
 *       left for good: to resume a running or a dead context is caught. (2) While a context that keeps its floating
 *       point environment runs, its `outer_env` holds the thread's, which all contexts that keep none share; it is in
 *       force again before such a one runs.
 *       (3) In a program with a C++ runtime all contexts of a thread keep their exceptions: a tasklet that waits inside
 *       `catch` finds its own exception there when it goes on. The runtime has them in two words of the thread. In a C
 *       program no context has a bit in `keeps`, and none pays for it.
 * Rejected: saving the floating point environment in every switch: it doubles its price, and few programs change
 *       theirs.
 */
#include "context.h"

#include "context_exceptions.h"
#include "context_tools.h"

/* Written in assembly, where they are described. */
void pn_context_swap(void **save_sp, void *to_sp);
void *pn_context_frame(void *top, pn_context_entry entry);
uint32_t pn_context_float_get(void);
void pn_context_float_set(uint32_t env);
uint32_t pn_context_float_initial(void);

/* The running thread's, in its C++ runtime; NULL: it has none. Contexts never leave their thread. */
static _Thread_local pn_exceptions *exceptions;

static uint32_t kept_exceptions(void) {
    return exceptions ? PN_KEEPS_EXCEPTIONS : 0;
}

void pn_context_init_thread(pn_context *context) {
    exceptions = pn_exceptions_of_thread();
    *context = (pn_context){.keeps = kept_exceptions()};
    pn_tools_thread_begin(context);
}

void pn_context_fini_thread(pn_context *context) {
    pn_tools_thread_end(context);
    exceptions = NULL;
}

void pn_context_make(pn_context *context, void *bottom, size_t bytes, size_t colour_bytes, pn_context_entry entry) {
    PN_DCHECK(((uintptr_t)bottom + bytes - colour_bytes) % 16 == 0);
    *context = (pn_context){
        .bottom = bottom, .bytes = bytes, .float_env = pn_context_float_initial(), .keeps = kept_exceptions()};
    context->sp = pn_context_frame((char *)bottom + bytes - colour_bytes, entry);
    pn_tools_stack_begin(context);
}

void pn_context_unmake(pn_context *context) {
    context->sp = NULL;
    pn_tools_stack_end(context);
}

/* From one environment to another. Nothing between here and the swap computes with floating point. */
static void change_float_env(pn_context *from, pn_context *to) {
    uint32_t now = pn_context_float_get();
    uint32_t outer = now;
    if (from->keeps & PN_KEEPS_FLOAT_ENV) {
        from->float_env = now;
        outer = from->outer_env;
    }
    to->outer_env = outer;
    pn_context_float_set(to->keeps & PN_KEEPS_FLOAT_ENV ? to->float_env : outer);
}

/* Exchange what the two keep, or one of them. */
static void change_kept(pn_context *from, pn_context *to) {
    if ((from->keeps | to->keeps) & PN_KEEPS_EXCEPTIONS) {
        from->exceptions = *exceptions;
        *exceptions = to->exceptions;
    }
    if ((from->keeps | to->keeps) & PN_KEEPS_FLOAT_ENV) {
        change_float_env(from, to);
    }
}

/* `to` runs from here on: take its stack pointer. */
static inline void *resume_point(pn_context *to) {
    void *sp = to->sp;
    PN_ASSERT(sp != NULL);
    to->sp = NULL;
    return sp;
}

/* Apart from pn_context_switch, so that the common switch needs no stack frame. */
static __attribute__((noinline)) void switch_kept(pn_context *from, pn_context *to) {
    void *sp = resume_point(to);
    change_kept(from, to);
    pn_tools_leave(from, to);
    pn_context_swap(&from->sp, sp);
    pn_tools_arrive(from);
}

void pn_context_switch(pn_context *from, pn_context *to) {
    if (PN_UNLIKELY(from->keeps | to->keeps)) {
        switch_kept(from, to);
        return;
    }
    void *sp = resume_point(to);
    pn_tools_leave(from, to);
    pn_context_swap(&from->sp, sp);
    pn_tools_arrive(from);
}

void pn_context_leave(pn_context *from, pn_context *to) {
    void *nobody_returns_here;
    void *sp = resume_point(to);
    if (from->keeps | to->keeps) {
        change_kept(from, to);
    }
    pn_tools_leave_for_good(from, to);
    pn_context_swap(&nobody_returns_here, sp);
    __builtin_unreachable();
}

void pn_context_entered(pn_context *context) {
    pn_tools_entered(context);
}
