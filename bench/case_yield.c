/* SPDX-License-Identifier: MIT
 *
 * What: what does one yield cost, with two tasklets in the ring and with a thousand?
 * Method: N tasklets of one worker yield in turn; the time of all divided by the number of yields. A thousand
 *       stacks no longer fit the first-level cache: the difference is the memory's share.
 */
#include "bench.h"

typedef struct ring {
    unsigned tasklets;
    uint64_t each;  /* yields of one tasklet                                                             */
    uint64_t turns; /* counted by all: proves that the yields happened                                   */
} ring;

static int yield_many(void *arg) {
    ring *r = arg;
    for (uint64_t i = 0; i < r->each; i++) {
        r->turns++;
        pirn_yield();
    }
    return 0;
}

static void yield_batch(void *context, uint64_t count) {
    ring *r = context;
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    r->each = count / r->tasklets;
    r->turns = 0;
    pirn_tasklet last = {0};
    for (unsigned i = 0; i < r->tasklets; i++) {
        last = i + 1 < r->tasklets ? pirn_spawn(yield_many, r) : pirn_spawn_with(&options, yield_many, r);
    }
    (void)pirn_join(last, NULL, PIRN_FOREVER); /* the last of the ring ends last */
    bench_use(r->turns);
}

static int measure_yield(void *arg) {
    bench_out *out = arg;
    ring two = {.tasklets = 2}, thousand = {.tasklets = 1000};
    bench_tell(out, "2-tasklets", "ns", BENCH_LOWER, bench_measure(BENCH_CPU, yield_batch, &two, 1000));
    bench_tell(out, "1000-tasklets", "ns", BENCH_LOWER, bench_measure(BENCH_CPU, yield_batch, &thousand, 100000));
    return two.turns == 2 * two.each && thousand.turns == 1000 * thousand.each ? 0 : PIRN_EFAILED;
}

static int run(const bench_setting *setting, bench_out *out) {
    return bench_in_pirn(setting, out, measure_yield, out);
}

const bench_case bench_case_yield = {"yield", "What CPU does one yield cost?", run};
