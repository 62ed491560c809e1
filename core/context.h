/* SPDX-License-Identifier: MIT
 *
 * What: one flow of control that can be left and resumed: a saved stack pointer, and what sanitizers and valgrind
 *       need to know of its stack. The switch saves what the ABI calls callee-saved and nothing else.
 * Threads: a context is resumed by one thread at a time; never while it runs.
 * States: fresh (made) -> running <-> saved -> dead (switched away with pn_context_leave).
 */
#ifndef PN_CONTEXT_H
#define PN_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base.h"

/* What a C++ runtime knows of exceptions on a thread: the first two words of the Itanium ABI's __cxa_eh_globals. */
typedef struct pn_exceptions {
    void *caught;
    unsigned uncaught_count;
} pn_exceptions;

/* Bits of `keeps`: what else than registers a switch exchanges. */
enum {
    PN_KEEPS_FLOAT_ENV = 1,  /* set after make, before the first resume; it starts with the ABI's initial one */
    PN_KEEPS_EXCEPTIONS = 2, /* set by make and init_thread, in a program with a C++ runtime             */
};

typedef struct pn_context {
    void *sp;                 /* where it was left; NULL while it runs                                       */
    const void *bottom;       /* lowest address of its stack, for ASan                                       */
    size_t bytes;             /* of its stack                                                               */
    void *fake_stack;         /* ASan's, while it is left                                                    */
    void *tsan_fiber;         /* TSan's                                                                     */
    uint32_t valgrind_id;     /* valgrind's stack number                                                    */
    uint32_t float_env;       /* mxcsr and x87 control word (fpcr), kept only with PN_KEEPS_FLOAT_ENV        */
    uint32_t outer_env;       /* the thread's own, while this one runs and keeps its own                   */
    uint32_t keeps;           /* bits, see above                                                            */
    pn_exceptions exceptions; /* while it is left, with PN_KEEPS_EXCEPTIONS                             */
} pn_context;

/* `entry` runs on the context's own stack when it is first resumed; it must not return. */
typedef void (*pn_context_entry)(void);

/* Describe the running thread's own stack, so that it can be left and resumed. */
void pn_context_init_thread(pn_context *context);
void pn_context_fini_thread(pn_context *context);

/* Make a fresh context on [bottom, bottom + bytes); its stack pointer starts `colour_bytes` (a multiple of 16) below
 * the top. */
void pn_context_make(pn_context *context, void *bottom, size_t bytes, size_t colour_bytes, pn_context_entry entry);

/* Tell the tools that the stack of a dead or never resumed context is not one any more. Call before its stack is
 * reused. */
void pn_context_unmake(pn_context *context);

/* Leave `from` (running) and resume `to`. Returns when somebody resumes `from`. */
void pn_context_switch(pn_context *from, pn_context *to);

/* Leave `from` for good. */
_Noreturn void pn_context_leave(pn_context *from, pn_context *to);

/* First call on a fresh context's stack, before anything else: completes the switch for the tools. */
void pn_context_entered(pn_context *context);

#endif
