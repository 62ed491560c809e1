/* SPDX-License-Identifier: MIT
 *
 * What: what the parts of pirn-bench share: a case, the setting it runs in, and the words by which it tells its
 *       figures.
 * Threads: one, but for what a case starts inside. Each sample is a process of its own: a case that crashes or
 *       hangs costs its sample only, and no sample inherits the heap, caches or threads of another.
 */
#ifndef BENCH_H
#define BENCH_H

#include <pirn.h>

/* One of the ways to run pirn that a benchmark compares. A peer runs without any: see bench_peer. */
typedef struct bench_setting {
    pirn_mode mode;
    pirn_poll poll;
    unsigned workers; /* 0: the runtime's default                                                        */
} bench_setting;

/* Figures go out through this; one is one measured value of one variant. Times are in ns. */
typedef struct bench_out bench_out;
typedef enum bench_better { BENCH_LOWER, BENCH_HIGHER } bench_better;
void bench_tell(bench_out *out, const char *variant, const char *unit, bench_better better, double value);

/* One question: `run` answers it once in one setting. Returns 0 or a negative code: then its sample counts as
 * failed. */
typedef struct bench_case {
    const char *name, *question;
    int (*run)(const bench_setting *setting, bench_out *out);
} bench_case;

extern const bench_case bench_case_yield, bench_case_spawn, bench_case_channel, bench_case_defer_hop,
    bench_case_http_hello;

/* The same question put to something that is not pirn. */
typedef struct bench_peer {
    const char *case_name, *name, *what;
    int (*run)(bench_out *out);
} bench_peer;

extern const bench_peer bench_peer_ucontext, bench_peer_thread_spawn, bench_peer_condition, bench_peer_eventfd,
    bench_peer_epoll;

/* How long one figure is measured, in ns (--sample-ms). Set before the first sample. */
extern int64_t bench_sample_ns;

/* Do `count` operations, a multiple of the `least` that bench_measure was given. What it computes must be used, or
 * the compiler drops the work: see bench_use. */
typedef void (*bench_batch)(void *context, uint64_t count);

/* What a figure counts. Where one thread works and nobody waits, its CPU time is the same figure as the time on the
 * wall, but for what other programs of the machine take from it. */
typedef enum bench_clock { BENCH_CPU, BENCH_WALL } bench_clock;

/* Nanoseconds per operation, of the whole process on a CPU or on the wall: warms up with growing batches from `least`
 * on, whose times are thrown away, then times one batch that lasts about bench_sample_ns. */
double bench_measure(bench_clock clock, bench_batch batch, void *context, uint64_t least);

/* Make `value` count as used. */
void bench_use(uint64_t value);

/* Run `body(arg)` as main tasklet of a runtime in `setting`, and tell how many workers it had. Its result. */
int bench_in_pirn(const bench_setting *setting, bench_out *out, pirn_fn body, void *arg);

#endif
