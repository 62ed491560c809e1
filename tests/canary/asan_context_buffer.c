/* SPDX-License-Identifier: MIT
 *
 * What: a write one byte past a local array, on a context's stack. AddressSanitizer must report a
 *       stack-buffer-overflow.
 * Threads: one.
 */
#include "one_context.h"

static volatile unsigned past_the_end = 16;

static void write_past_the_end(void) {
    volatile char bytes[16];
    bytes[past_the_end] = 1;
    printf("not found: %d\n", bytes[0]);
}

int main(void) {
    canary_setup();
    canary_run(write_past_the_end);
    return 0;
}
