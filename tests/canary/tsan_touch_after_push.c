/* SPDX-License-Identifier: MIT
 *
 * What: a producer that touches a message after it pushed it, while the consumer reads it. ThreadSanitizer must report
 *       a data race though the queue is told to it by annotations only: they order the push with the take, no more.
 * Threads: two, a hundred messages, so that some are read while they are touched.
 */
#include <pthread.h>
#include <stdio.h>

#include "inbox.h"

enum { MESSAGES = 100 };

typedef struct touched {
    pn_message message;
    volatile int value;
} touched;

static pn_inbox inbox;
static touched all[MESSAGES];
static int sum;

static void deliver(pn_message *message) {
    sum += PN_CONTAINER_OF(message, touched, message)->value;
}

static void *produce(void *arg) {
    for (int i = 0; i < MESSAGES; i++) {
        all[i].message.deliver = deliver;
        all[i].value = i;
        pn_inbox_push_mpsc(&inbox, &all[i].message);
        all[i].value = -i; /* the planted bug */
    }
    return arg;
}

int main(void) {
    pthread_t thread;
    pn_inbox_init(&inbox);
    pthread_create(&thread, NULL, produce, NULL);
    for (unsigned count = 0; count < MESSAGES;) {
        count += pn_inbox_drain(&inbox);
    }
    pthread_join(thread, NULL);
    printf("%d\n", sum);
    return 0;
}
