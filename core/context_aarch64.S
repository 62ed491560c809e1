/* SPDX-License-Identifier: MIT
 *
 * What: the switch for aarch64 (AAPCS64): x19 to x30, d8 to d15 and the stack pointer. What the caller of a function
 *       may lose anyway is not saved.
 * States: the frame of a context that was left, 160 bytes from its saved stack pointer up:
 *           x29 x30, x19 ... x28, d8 ... d15.
 * Rejected: to return by `br`: it unbalances the return predictor (measured on x86-64: see there), and with branch
 *       target identification the address after a call is no target for it. `ret` needs no landing pad.
 */
	.text

	/* void pn_context_swap(void **save_sp, void *to_sp) */
	.globl	pn_context_swap
	.hidden	pn_context_swap
	.type	pn_context_swap, %function
	.balign	16
pn_context_swap:
	.cfi_startproc
	hint	#34			/* bti c */
	stp	x29, x30, [sp, #-160]!
	.cfi_def_cfa_offset 160
	.cfi_offset x29, -160
	.cfi_offset x30, -152
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	.cfi_offset x19, -144
	.cfi_offset x20, -136
	.cfi_offset x21, -128
	.cfi_offset x22, -120
	.cfi_offset x23, -112
	.cfi_offset x24, -104
	.cfi_offset x25, -96
	.cfi_offset x26, -88
	.cfi_offset x27, -80
	.cfi_offset x28, -72
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mov	x9, sp
	str	x9, [x0]
	/* From here on the other stack: its frame has the same layout, so the unwind rules above hold for it too. */
	mov	sp, x1
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	ldp	x29, x30, [sp], #160
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	.cfi_restore x19
	.cfi_restore x20
	.cfi_restore x21
	.cfi_restore x22
	.cfi_restore x23
	.cfi_restore x24
	.cfi_restore x25
	.cfi_restore x26
	.cfi_restore x27
	.cfi_restore x28
	ret
	.cfi_endproc
	.size	pn_context_swap, .-pn_context_swap

	/* void *pn_context_frame(void *top, void (*entry)(void)): write the frame of a fresh context below `top`, which is a
	 * multiple of 16, and return its stack pointer. The first swap to it "returns" to pn_context_start. */
	.globl	pn_context_frame
	.hidden	pn_context_frame
	.type	pn_context_frame, %function
	.balign	16
pn_context_frame:
	.cfi_startproc
	hint	#34			/* bti c */
	adr	x9, pn_context_start
	sub	x0, x0, #160
	stp	xzr, x9, [x0]		/* x29: frame pointer chains end here; x30: return address */
	stp	x1, xzr, [x0, #16]	/* x19: entry */
	stp	xzr, xzr, [x0, #32]
	stp	xzr, xzr, [x0, #48]
	stp	xzr, xzr, [x0, #64]
	stp	xzr, xzr, [x0, #80]
	stp	xzr, xzr, [x0, #96]
	stp	xzr, xzr, [x0, #112]
	stp	xzr, xzr, [x0, #128]
	stp	xzr, xzr, [x0, #144]
	ret
	.cfi_endproc
	.size	pn_context_frame, .-pn_context_frame

	/* The outermost function of every context. "x30 undefined" is how unwinders know that nothing called it. */
	.type	pn_context_start, %function
	.balign	16
pn_context_start:
	.cfi_startproc
	.cfi_undefined x30
	blr	x19
	brk	#1			/* entry returned: a bug */
	.cfi_endproc
	.size	pn_context_start, .-pn_context_start

	/* uint32_t pn_context_float_get(void) */
	.globl	pn_context_float_get
	.hidden	pn_context_float_get
	.type	pn_context_float_get, %function
	.balign	16
pn_context_float_get:
	.cfi_startproc
	hint	#34			/* bti c */
	mrs	x0, fpcr
	ret
	.cfi_endproc
	.size	pn_context_float_get, .-pn_context_float_get

	/* void pn_context_float_set(uint32_t) */
	.globl	pn_context_float_set
	.hidden	pn_context_float_set
	.type	pn_context_float_set, %function
	.balign	16
pn_context_float_set:
	.cfi_startproc
	hint	#34			/* bti c */
	mov	w0, w0			/* the upper half of an argument is undefined */
	msr	fpcr, x0
	ret
	.cfi_endproc
	.size	pn_context_float_set, .-pn_context_float_set

	/* uint32_t pn_context_float_initial(void): what the ABI gives a new process. */
	.globl	pn_context_float_initial
	.hidden	pn_context_float_initial
	.type	pn_context_float_initial, %function
	.balign	16
pn_context_float_initial:
	.cfi_startproc
	hint	#34			/* bti c */
	mov	w0, wzr
	ret
	.cfi_endproc
	.size	pn_context_float_initial, .-pn_context_float_initial

	/* What this object promises the linker: branch target identification. */
	.section .note.gnu.property, "a", %note
	.balign	8
	.long	4			/* bytes of the name */
	.long	16			/* bytes of the properties */
	.long	5			/* NT_GNU_PROPERTY_TYPE_0 */
	.asciz	"GNU"
	.long	0xc0000000		/* GNU_PROPERTY_AARCH64_FEATURE_1_AND */
	.long	4
	.long	1			/* BTI */
	.long	0
	.section .note.GNU-stack, "", %progbits
