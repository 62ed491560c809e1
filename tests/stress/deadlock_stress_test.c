/* SPDX-License-Identifier: MIT
 *
 * What: the judge of total deadlocks against a program in which one message is always on its way.
 * Threads: 48 workers, three of which have something to do: the more words a judge reads, the more can happen between
 *       its look at a worker's word and its look at that worker's inbox.
 */
#include "modes.h"

#define WORKERS 48
#define HOPPERS 3 /* on workers 1 to 3: what happens on worker 0 would make a wrong report void */

static const test_mode many_workers = {"threaded", PIRN_MODE_THREADED, PIRN_POLL_REACTOR, WORKERS};

static pirn_channel *rings[HOPPERS];

/* Pass on what comes, one hop less, to the next one or the one after that. Who makes it 0 ends all. */
static int pass_on(void *arg) {
    unsigned own = (unsigned)(uintptr_t)arg;
    uint64_t token;
    while (pirn_recv(rings[own], &token, PIRN_FOREVER) == 0) {
        if (--token == 0) {
            for (unsigned i = 0; i < HOPPERS; i++) {
                pirn_channel_close(rings[i]);
            }
            return 0;
        }
        TEST_CHECK(pirn_send(rings[(own + 1 + (unsigned)(token / 3 % 2)) % HOPPERS], &token, PIRN_FOREVER) == 0);
    }
    return 0;
}

static int send_round(void *arg) {
    (void)arg;
    pirn_tasklet tasklets[HOPPERS];
    for (unsigned i = 0; i < HOPPERS; i++) {
        rings[i] = pirn_channel_create(sizeof(uint64_t), 0);
    }
    for (unsigned i = 0; i < HOPPERS; i++) {
        pirn_spawn_options options;
        pirn_spawn_options_init(&options);
        options.flags = PIRN_JOINABLE;
        options.home = (int)i + 1;
        tasklets[i] = pirn_spawn_with(&options, pass_on, (void *)(uintptr_t)i);
    }
    uint64_t token = pirn_test_count(200000, 2000);
    TEST_CHECK(pirn_send(rings[0], &token, PIRN_FOREVER) == 0);
    int error = 0;
    for (unsigned i = 0; i < HOPPERS && error == 0; i++) {
        error = pirn_join(tasklets[i], NULL, PIRN_FOREVER);
    }
    for (unsigned i = 0; i < HOPPERS && error == 0; i++) {
        pirn_channel_destroy(rings[i]);
    }
    return error;
}

/* Goal: no deadlock is reported while a message is on its way, however the looks of the judge and the hops meet.
 * Method: one token hops between three workers that otherwise sleep, so after each hop one of them judges. Main waits
 *       without a deadline, and would get PIRN_EDEADLK. */
Test(deadlock_stress, hopping_token_is_no_deadlock, .timeout = 120) {
    int result = test_run_in(&many_workers, send_round, NULL);
    cr_assert_eq(result, 0, "main ended with %s", pirn_error_name(result));
}
