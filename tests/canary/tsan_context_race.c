/* SPDX-License-Identifier: MIT
 *
 * What: two threads change one plain word without a lock, each on a context's stack. ThreadSanitizer must report a
 *       data race.
 * Threads: two, on purpose at the same time.
 */
#include <pthread.h>

#include "one_context.h"

static long shared_count;

static void count(void) {
    for (int i = 0; i < 1000; i++) {
        shared_count++;
    }
}

static void *run(void *arg) {
    canary_run(count);
    return arg;
}

int main(void) {
    pthread_t first, second;
    canary_setup();
    pthread_create(&first, NULL, run, NULL);
    pthread_create(&second, NULL, run, NULL);
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    printf("%ld\n", shared_count);
    return 0;
}
