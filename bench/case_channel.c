/* SPDX-License-Identifier: MIT
 *
 * What: what does it cost to move one 8-byte value through a channel?
 * Method: one tasklet sends the numbers, one receives and adds them up: by rendezvous on a local and on a shared
 *       channel, through a buffer of 64, through a select of four, and, with two workers or more, to a tasklet of
 *       another worker.
 */
#include "bench.h"

enum { SELECT_CASES = 4 };

typedef struct pipe_line {
    size_t capacity;
    unsigned flags;
    int receiver_home; /* -1: the caller's                                                               */
    bool by_select;
    pirn_channel *channel;
    uint64_t count, sum;
} pipe_line;

static int receive_all(void *arg) {
    pipe_line *line = arg;
    uint64_t sum = 0, value = 0;
    while (pirn_recv(line->channel, &value, PIRN_FOREVER) == 0) {
        sum += value;
    }
    line->sum = sum;
    return 0;
}

/* The value always comes through the first channel; the others are waited in as well, which is what a select pays
 * for. */
static int select_all(void *arg) {
    pipe_line *line = arg;
    uint64_t sum = 0, value = 0;
    pirn_case cases[SELECT_CASES];
    for (int i = 0; i < SELECT_CASES; i++) {
        pirn_channel *channel = i == 0 ? line->channel : pirn_channel_create(sizeof value, 0);
        cases[i] = (pirn_case){.channel = channel, .direction = PIRN_RECV, .elem = &value};
    }
    while (pirn_select(cases, SELECT_CASES, PIRN_FOREVER) == 0 && cases[0].status == 0) {
        sum += value;
    }
    for (int i = 1; i < SELECT_CASES; i++) {
        pirn_channel_destroy(cases[i].channel);
    }
    line->sum = sum;
    return 0;
}

static void move_values(void *context, uint64_t count) {
    pipe_line *line = context;
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.flags = line->flags;
    line->channel = pirn_channel_create_with(sizeof(uint64_t), line->capacity, &options);
    pirn_spawn_options spawn;
    pirn_spawn_options_init(&spawn);
    spawn.flags = PIRN_JOINABLE;
    spawn.home = line->receiver_home;
    pirn_tasklet receiver = pirn_spawn_with(&spawn, line->by_select ? select_all : receive_all, line);
    for (uint64_t value = 1; value <= count; value++) {
        (void)pirn_send(line->channel, &value, PIRN_FOREVER);
    }
    pirn_channel_close(line->channel);
    (void)pirn_join(receiver, NULL, PIRN_FOREVER);
    pirn_channel_destroy(line->channel);
    line->count = count;
    bench_use(line->sum);
}

/* Measure, tell, and check that every value arrived. */
static int tell_line(bench_out *out, const char *variant, bench_clock clock, pipe_line line) {
    double ns = bench_measure(clock, move_values, &line, 1000);
    if (line.sum != line.count * (line.count + 1) / 2) {
        return PIRN_EFAILED;
    }
    bench_tell(out, variant, "ns", BENCH_LOWER, ns);
    return 0;
}

static int measure_channel(void *arg) {
    bench_out *out = arg;
    pirn_runtime_info info;
    int error = pirn_runtime_describe(&info);
    if (error == 0) {
        error = tell_line(out, "local", BENCH_CPU, (pipe_line){.flags = PIRN_CHANNEL_LOCAL, .receiver_home = -1});
    }
    if (error == 0) {
        error = tell_line(out, "shared", BENCH_CPU, (pipe_line){.receiver_home = -1});
    }
    if (error == 0) {
        error = tell_line(out, "buffered-64", BENCH_CPU, (pipe_line){.capacity = 64, .receiver_home = -1});
    }
    if (error == 0) {
        error = tell_line(out, "select-of-4", BENCH_CPU, (pipe_line){.by_select = true, .receiver_home = -1});
    }
    if (error == 0 && info.workers > 1) {
        error = tell_line(out, "to-other-worker", BENCH_WALL, (pipe_line){.receiver_home = 1});
    }
    return error;
}

static int run(const bench_setting *setting, bench_out *out) {
    return bench_in_pirn(setting, out, measure_channel, out);
}

const bench_case bench_case_channel = {"channel", "What CPU does it cost to move one value through a channel?", run};
