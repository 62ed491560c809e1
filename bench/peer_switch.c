/* SPDX-License-Identifier: MIT
 *
 * What: peers made of libc alone: swapcontext (yield), pthread_create (spawn), a mutex with condition variables
 *       (channel) and a pair of eventfds (defer-hop).
 * Threads: two where two are measured.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <ucontext.h>
#include <unistd.h>

#include "bench.h"

/* ---- yield: swapcontext ---- */

static ucontext_t here, there;
static uint64_t turns;

static void swap_for_ever(void) {
    for (;;) {
        turns++;
        swapcontext(&there, &here);
    }
}

static void swap_batch(void *context, uint64_t count) {
    (void)context;
    for (uint64_t i = 0; i < count; i += 2) { /* there and back are two switches */
        swapcontext(&here, &there);
    }
    bench_use(turns);
}

static int run_ucontext(bench_out *out) {
    enum { STACK_BYTES = 65536 };
    void *stack = malloc(STACK_BYTES);
    if (!stack || getcontext(&there) != 0) {
        free(stack);
        return PIRN_ENOMEM;
    }
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = STACK_BYTES;
    makecontext(&there, swap_for_ever, 0);
    bench_tell(out, "ucontext", "ns", BENCH_LOWER, bench_measure(BENCH_CPU, swap_batch, NULL, 1000));
    free(stack);
    return 0;
}

const bench_peer bench_peer_ucontext = {"yield", "ucontext", "swapcontext between two contexts", run_ucontext};

/* ---- spawn: pthread_create and join ---- */

static void *count_thread(void *arg) {
    (*(uint64_t *)arg)++;
    return NULL;
}

static void thread_batch(void *context, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, count_thread, context) != 0 || pthread_join(thread, NULL) != 0) {
            abort();
        }
    }
    bench_use(*(uint64_t *)context);
}

static int run_thread_spawn(bench_out *out) {
    uint64_t ended = 0;
    bench_tell(out, "pthread", "ns", BENCH_LOWER, bench_measure(BENCH_CPU, thread_batch, &ended, 10));
    return 0;
}

const bench_peer bench_peer_thread_spawn = {"spawn", "pthread", "pthread_create and pthread_join", run_thread_spawn};

/* ---- channel: one slot, a mutex, two condition variables, two threads ---- */

typedef struct slot {
    pthread_mutex_t mutex;
    pthread_cond_t filled, emptied;
    bool full;
    uint64_t value, count, sum;
} slot;

static void *take_all(void *arg) {
    slot *s = arg;
    for (uint64_t i = 0; i < s->count; i++) {
        pthread_mutex_lock(&s->mutex);
        while (!s->full) {
            pthread_cond_wait(&s->filled, &s->mutex);
        }
        s->sum += s->value;
        s->full = false;
        pthread_cond_signal(&s->emptied);
        pthread_mutex_unlock(&s->mutex);
    }
    return NULL;
}

static void slot_batch(void *context, uint64_t count) {
    slot *s = context;
    pthread_t taker;
    s->count = count;
    if (pthread_create(&taker, NULL, take_all, s) != 0) {
        abort();
    }
    for (uint64_t i = 0; i < count; i++) {
        pthread_mutex_lock(&s->mutex);
        while (s->full) {
            pthread_cond_wait(&s->emptied, &s->mutex);
        }
        s->value = i;
        s->full = true;
        pthread_cond_signal(&s->filled);
        pthread_mutex_unlock(&s->mutex);
    }
    pthread_join(taker, NULL);
    bench_use(s->sum);
}

static int run_condition(bench_out *out) {
    slot s = {
        .mutex = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .emptied = PTHREAD_COND_INITIALIZER};
    bench_tell(out, "pthread-condition", "ns", BENCH_LOWER, bench_measure(BENCH_CPU, slot_batch, &s, 100));
    return 0;
}

const bench_peer bench_peer_condition = {"channel", "pthread-condition", "a slot with a mutex, between two threads",
                                         run_condition};

/* ---- defer-hop: there and back over two eventfds ---- */

typedef struct echo_line {
    int there, back;
} echo_line;

static void *echo_thread(void *arg) {
    const echo_line *line = arg;
    uint64_t value;
    while (read(line->there, &value, sizeof value) == sizeof value && value == 1 &&
           write(line->back, &value, sizeof value) == sizeof value) {
    }
    return NULL;
}

static void echo_batch(void *context, uint64_t count) {
    const echo_line *line = context;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t one = 1;
        if (write(line->there, &one, sizeof one) != sizeof one || read(line->back, &one, sizeof one) != sizeof one) {
            abort();
        }
    }
}

static int run_eventfd(bench_out *out) {
    echo_line line = {.there = eventfd(0, EFD_CLOEXEC), .back = eventfd(0, EFD_CLOEXEC)};
    pthread_t thread;
    if (line.there < 0 || line.back < 0 || pthread_create(&thread, NULL, echo_thread, &line) != 0) {
        return PIRN_ENOMEM;
    }
    bench_tell(out, "pthread-eventfd", "ns", BENCH_LOWER, bench_measure(BENCH_WALL, echo_batch, &line, 10));
    uint64_t end = 2;
    if (write(line.there, &end, sizeof end) != sizeof end) {
        abort();
    }
    pthread_join(thread, NULL);
    close(line.there);
    close(line.back);
    return 0;
}

const bench_peer bench_peer_eventfd = {"defer-hop", "pthread-eventfd", "two threads, an eventfd each way", run_eventfd};
