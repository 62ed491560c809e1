/* SPDX-License-Identifier: MIT
 *
 * What: what does a tasklet cost from its spawn to its end?
 * Method: detached ones in batches of a hundred, as a server makes them (records and stacks come warm from the
 *       caches); and joinable ones, each joined at once, which adds the switch there and back.
 */
#include "bench.h"

#define BATCH 100u

static int count_one(void *arg) {
    uint64_t *ended = arg;
    (*ended)++;
    return 0;
}

static void spawn_detached(void *context, uint64_t count) {
    uint64_t *ended = context, wanted = 0;
    *ended = 0;
    while (wanted < count) {
        for (unsigned i = 0; i < BATCH && wanted < count; i++) {
            wanted += pirn_spawn(count_one, ended).id != 0;
        }
        while (*ended < wanted) {
            pirn_yield();
        }
    }
    bench_use(*ended);
}

static void spawn_joined(void *context, uint64_t count) {
    uint64_t *ended = context;
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    *ended = 0;
    for (uint64_t i = 0; i < count; i++) {
        (void)pirn_join(pirn_spawn_with(&options, count_one, ended), NULL, PIRN_FOREVER);
    }
    bench_use(*ended);
}

static int measure_spawn(void *arg) {
    bench_out *out = arg;
    uint64_t ended = 0;
    bench_tell(out, "detached", "ns", BENCH_LOWER, bench_measure(BENCH_CPU, spawn_detached, &ended, BATCH));
    bench_tell(out, "joined", "ns", BENCH_LOWER, bench_measure(BENCH_CPU, spawn_joined, &ended, BATCH));
    return ended > 0 ? 0 : PIRN_EFAILED;
}

static int run(const bench_setting *setting, bench_out *out) {
    return bench_in_pirn(setting, out, measure_spawn, out);
}

const bench_case bench_case_spawn = {"spawn", "What CPU does a tasklet cost from its spawn to its end?", run};
