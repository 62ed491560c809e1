/* SPDX-License-Identifier: MIT
 *
 * What: how long from asking another thread until the parked tasklet is awake with the answer?
 * Method: a tasklet awaits a deferred that is fired elsewhere, and asks again: by a tasklet of its own worker (no
 *       thread, for comparison), by a thread of the offload pool, by 64 tasklets at once through the same pool, and
 *       by the reactor (a call-later of no delay). There and back, doorbells and wake-ups included.
 */
#include "bench.h"

enum { CROWD = 64 };

/* Every hop must bring its answer: a figure of lost ones would be worthless. */
typedef struct hop_count {
    uint64_t asked, answered;
} hop_count;

/* ---- on the same worker ---- */

static int fire_what_comes(void *arg) {
    pirn_deferred *deferred;
    while (pirn_recv(arg, &deferred, PIRN_FOREVER) == 0) {
        (void)pirn_deferred_fire(deferred, arg, NULL);
        pirn_deferred_release(deferred);
    }
    return 0;
}

static void hop_local(void *context, uint64_t count) {
    hop_count *hops = context;
    hops->asked += count;
    pirn_channel *requests = pirn_channel_create(sizeof(pirn_deferred *), 1);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet partner = pirn_spawn_with(&options, fire_what_comes, requests);
    for (uint64_t i = 0; i < count; i++) {
        pirn_result result;
        pirn_deferred *deferred = pirn_deferred_retain(pirn_deferred_create(NULL, NULL));
        (void)pirn_send(requests, &deferred, PIRN_FOREVER);
        hops->answered += pirn_await_take(deferred, &result, PIRN_FOREVER) == 0;
        pirn_result_drop(&result);
    }
    pirn_channel_close(requests);
    (void)pirn_join(partner, NULL, PIRN_FOREVER);
    pirn_channel_destroy(requests);
}

/* ---- through the offload pool ---- */

static int echo_work(void *arg, pirn_result *out) {
    out->value = arg;
    return 0;
}

static void hop_offload(void *context, uint64_t count) {
    hop_count *hops = context;
    hops->asked += count;
    for (uint64_t i = 0; i < count; i++) {
        pirn_result result;
        hops->answered += pirn_await_take(pirn_offload(echo_work, context, NULL), &result, PIRN_FOREVER) == 0;
        pirn_result_drop(&result);
    }
}

typedef struct share {
    uint64_t count;
    hop_count *hops;
} share;

static int offload_share(void *arg) {
    share *mine = arg;
    hop_offload(mine->hops, mine->count);
    return 0;
}

/* `count` hops by CROWD tasklets at once: batches form, and one doorbell wakes many. */
static void hop_offload_crowd(void *context, uint64_t count) {
    share mine = {.count = count / CROWD, .hops = context};
    pirn_tasklet crowd[CROWD];
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = pirn_spawn_with(&options, offload_share, &mine);
    }
    for (int i = 0; i < CROWD; i++) {
        (void)pirn_join(crowd[i], NULL, PIRN_FOREVER);
    }
}

/* ---- through the reactor ---- */

static void hop_reactor(void *context, uint64_t count) {
    hop_count *hops = context;
    hops->asked += count;
    for (uint64_t i = 0; i < count; i++) {
        pirn_result result;
        hops->answered += pirn_await_take(pirn_call_later(0), &result, PIRN_FOREVER) == 0;
        pirn_result_drop(&result);
    }
}

static int measure_hop(void *arg) {
    bench_out *out = arg;
    hop_count hops = {0};
    bench_tell(out, "same-worker", "ns", BENCH_LOWER, bench_measure(BENCH_WALL, hop_local, &hops, CROWD));
    bench_tell(out, "offload", "ns", BENCH_LOWER, bench_measure(BENCH_WALL, hop_offload, &hops, CROWD));
    bench_tell(out, "offload-64-at-once", "ns", BENCH_LOWER,
               bench_measure(BENCH_WALL, hop_offload_crowd, &hops, CROWD));
    bench_tell(out, "reactor", "ns", BENCH_LOWER, bench_measure(BENCH_WALL, hop_reactor, &hops, CROWD));
    bench_use(hops.answered);
    return hops.asked == hops.answered ? 0 : PIRN_EFAILED;
}

static int run(const bench_setting *setting, bench_out *out) {
    return bench_in_pirn(setting, out, measure_hop, out);
}

const bench_case bench_case_defer_hop = {
    "defer-hop", "How long until a deferred fired on another thread has woken its tasklet, there and back?", run};
