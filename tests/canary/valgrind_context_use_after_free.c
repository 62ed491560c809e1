/* SPDX-License-Identifier: MIT
 *
 * What: a read of freed memory in a context. Memcheck must report an invalid read, and nothing about the stacks.
 * Threads: one.
 */
#include "one_context.h"

static char *volatile block; /* hidden from compilers, which would warn of the planted bug */

static void read_freed(void) {
    block = malloc(32);
    block[3] = 1;
    free(block);
    printf("read %d\n", block[3]);
}

int main(void) {
    canary_setup();
    canary_run(read_freed);
    return 0;
}
