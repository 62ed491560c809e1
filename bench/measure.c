/* SPDX-License-Identifier: MIT
 *
 * What: timing one figure, and running a body in a runtime.
 * Threads: the sample's process, in a tasklet or a plain thread.
 */
#include <time.h>

#include "bench.h"
#include "out.h"

int64_t bench_sample_ns = 300 * PIRN_MILLISECOND;

void bench_use(uint64_t value) {
    __asm__ volatile("" : : "r"(value)); /* the compiler may not know that nobody looks at it */
}

static int64_t read_clock(bench_clock clock) {
    struct timespec now;
    clock_gettime(clock == BENCH_CPU ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * PIRN_SECOND + now.tv_nsec;
}

static int64_t time_batch(bench_clock clock, bench_batch batch, void *context, uint64_t count) {
    int64_t start = read_clock(clock);
    batch(context, count);
    return read_clock(clock) - start;
}

double bench_measure(bench_clock clock, bench_batch batch, void *context, uint64_t least) {
    uint64_t count = least;
    int64_t took = time_batch(clock, batch, context, count);
    while (took < bench_sample_ns / 4) { /* warm-up and calibration in one */
        count *= 2;
        took = time_batch(clock, batch, context, count);
    }
    uint64_t times = (uint64_t)((double)count / (double)least * (double)bench_sample_ns / (double)took);
    count = least * (times > 0 ? times : 1);
    return (double)time_batch(clock, batch, context, count) / (double)count;
}

typedef struct body_call {
    bench_out *out;
    pirn_fn body;
    void *arg;
} body_call;

static int call_body(void *arg) {
    const body_call *call = arg;
    pirn_runtime_info info;
    if (call->out && pirn_runtime_describe(&info) == 0) {
        bench_out_workers(call->out, info.workers);
    }
    return call->body(call->arg);
}

int bench_in_pirn(const bench_setting *setting, bench_out *out, pirn_fn body, void *arg) {
    pirn_options options;
    pirn_options_init(&options);
    options.mode = setting->mode;
    options.poll = setting->poll;
    options.workers = setting->workers;
    body_call call = {.out = out, .body = body, .arg = arg};
    return pirn_run(&options, call_body, &call);
}
