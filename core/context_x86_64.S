/* SPDX-License-Identifier: MIT
 *
 * What: the switch for x86-64 (System V ABI): the six callee-saved registers and the stack pointer. What the caller
 *       of a function may lose anyway is not saved.
 * States: the frame of a context that was left, from its saved stack pointer up:
 *           r15 r14 r13 r12 rbx rbp, return address.
 * Rejected: to return by `pop; jmp`. In a loop of two bare coroutines it is five times as fast as `ret` (2 ns against
 *       10), but below real callers it is three to four times as slow (30 to 40 ns a yield against 10): the call that
 *       came here leaves its entry on the processor's return stack, so every return of the resumed tasklet's callers
 *       is predicted wrong. With `ret` the entries match, because all tasklets leave through the same few call sites.
 *       The floating point control words in this frame: two more nanoseconds for each switch (context.c).
 *       File-scope asm in a C file: its object would be marked as safe for shadow stacks, which no stack switch is.
 */
	.text

	/* void pn_context_swap(void **save_sp, void *to_sp) */
	.globl	pn_context_swap
	.hidden	pn_context_swap
	.type	pn_context_swap, @function
	.balign	16
pn_context_swap:
	.cfi_startproc
	endbr64
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	movq	%rsp, (%rdi)
	/* From here on the other stack: its frame has the same layout, so the unwind rules above hold for it too. */
	movq	%rsi, %rsp
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	ret
	.cfi_endproc
	.size	pn_context_swap, .-pn_context_swap

	/* void *pn_context_frame(void *top, void (*entry)(void)): write the frame of a fresh context below `top`, which is a
	 * multiple of 16, and return its stack pointer. The first swap to it "returns" to pn_context_start. */
	.globl	pn_context_frame
	.hidden	pn_context_frame
	.type	pn_context_frame, @function
	.balign	16
pn_context_frame:
	.cfi_startproc
	endbr64
	leaq	pn_context_start(%rip), %rax
	movq	$0, -8(%rdi)		/* the return address of pn_context_start: there is none */
	movq	$0, -16(%rdi)
	movq	%rax, -24(%rdi)		/* return address */
	movq	$0, -32(%rdi)		/* rbp: frame pointer chains end here */
	movq	$0, -40(%rdi)		/* rbx */
	movq	%rsi, -48(%rdi)		/* r12: entry */
	movq	$0, -56(%rdi)		/* r13 */
	movq	$0, -64(%rdi)		/* r14 */
	movq	$0, -72(%rdi)		/* r15 */
	leaq	-72(%rdi), %rax
	ret
	.cfi_endproc
	.size	pn_context_frame, .-pn_context_frame

	/* The outermost function of every context. "rip undefined" is how unwinders know that nothing called it. */
	.type	pn_context_start, @function
	.balign	16
pn_context_start:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	call	*%r12
	ud2				/* entry returned: a bug */
	.cfi_endproc
	.size	pn_context_start, .-pn_context_start

	/* uint32_t pn_context_float_get(void): mxcsr in the low half, the x87 control word in the high one. */
	.globl	pn_context_float_get
	.hidden	pn_context_float_get
	.type	pn_context_float_get, @function
	.balign	16
pn_context_float_get:
	.cfi_startproc
	endbr64
	stmxcsr	-8(%rsp)
	fnstcw	-6(%rsp)
	movl	-8(%rsp), %eax
	ret
	.cfi_endproc
	.size	pn_context_float_get, .-pn_context_float_get

	/* void pn_context_float_set(uint32_t) */
	.globl	pn_context_float_set
	.hidden	pn_context_float_set
	.type	pn_context_float_set, @function
	.balign	16
pn_context_float_set:
	.cfi_startproc
	endbr64
	movl	%edi, -4(%rsp)
	fldcw	-2(%rsp)
	movzwl	%di, %edi
	movl	%edi, -8(%rsp)
	ldmxcsr	-8(%rsp)
	ret
	.cfi_endproc
	.size	pn_context_float_set, .-pn_context_float_set

	/* uint32_t pn_context_float_initial(void): what the ABI gives a new process. */
	.globl	pn_context_float_initial
	.hidden	pn_context_float_initial
	.type	pn_context_float_initial, @function
	.balign	16
pn_context_float_initial:
	.cfi_startproc
	endbr64
	movl	$0x037f1f80, %eax
	ret
	.cfi_endproc
	.size	pn_context_float_initial, .-pn_context_float_initial

	/* What this object promises the linker: indirect branch tracking, yes; shadow stacks, no. */
	.section .note.gnu.property, "a", @note
	.balign	8
	.long	4			/* bytes of the name */
	.long	16			/* bytes of the properties */
	.long	5			/* NT_GNU_PROPERTY_TYPE_0 */
	.asciz	"GNU"
	.long	0xc0000002		/* GNU_PROPERTY_X86_FEATURE_1_AND */
	.long	4
	.long	1			/* IBT */
	.long	0
	.section .note.GNU-stack, "", @progbits
