/* SPDX-License-Identifier: MIT
 *
 * What: where a signal found its thread: the interrupted instruction, stack and frame pointer, out of the kernel's
 *       signal frame.
 * Threads: a signal handler, about its own thread.
 */
#ifndef PN_CONTEXT_SIGNAL_H
#define PN_CONTEXT_SIGNAL_H

#include <stdint.h>
#include <ucontext.h>

typedef struct pn_interrupted {
    uintptr_t instruction;
    uintptr_t stack; /* the stack pointer */
    uintptr_t frame; /* the frame pointer: where its caller's frame pointer and return address stand */
} pn_interrupted;

static inline pn_interrupted pn_interrupted_at(const void *signal_context) {
    const ucontext_t *context = signal_context;
#if defined(__x86_64__)
    return (pn_interrupted){.instruction = (uintptr_t)context->uc_mcontext.gregs[REG_RIP],
                            .stack = (uintptr_t)context->uc_mcontext.gregs[REG_RSP],
                            .frame = (uintptr_t)context->uc_mcontext.gregs[REG_RBP]};
#elif defined(__aarch64__)
    return (pn_interrupted){.instruction = (uintptr_t)context->uc_mcontext.pc,
                            .stack = (uintptr_t)context->uc_mcontext.sp,
                            .frame = (uintptr_t)context->uc_mcontext.regs[29]};
#else
    (void)context;
    return (pn_interrupted){0, 0, 0}; /* no stack then: the line alone */
#endif
}

#endif
