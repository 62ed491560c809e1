/* SPDX-License-Identifier: MIT
 *
 * What: the snapshot of all workers.
 */
#include "modes.h"
#include "tasklet.h"

static int wait_on(void *arg) {
    char byte;
    (void)pirn_recv(arg, &byte, PIRN_FOREVER);
    return 0;
}

static int choose(void *arg) {
    pirn_case cases[3] = {{.channel = arg, .direction = PIRN_RECV, .elem = &(char){0}},
                          {.channel = NULL, .direction = PIRN_SEND, .elem = &(char){0}},
                          {.channel = NULL, .direction = PIRN_RECV, .elem = &(char){0}}};
    int chosen = pirn_select(cases, 3, PIRN_FOREVER);
    return chosen < 0 ? chosen : 0;
}

/* One that stands in a select, parked. */
static pirn_tasklet spawn_chooser(pirn_channel *channel) {
    int before = pirn_channel_balance(channel);
    pirn_tasklet chooser = pirn_spawn(choose, channel);
    TEST_CHECK(chooser.id != 0);
    while (pirn_channel_balance(channel) == before) {
        pirn_yield();
    }
    return chooser;
}

#define WATCHED_NS (20 * PIRN_MILLISECOND)

static int look(void *arg) {
    (void)arg;
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    pirn_channel_options channel_options;
    pirn_channel_options_init(&channel_options);
    channel_options.name = "shuttle";
    pirn_channel *channel = pirn_channel_create_with(1, 0, &channel_options);
    for (unsigned i = 0; i < info.workers; i++) {
        pirn_spawn_options options;
        pirn_spawn_options_init(&options);
        options.name = "watched";
        options.home = (int)i;
        TEST_CHECK(pirn_spawn_with(&options, wait_on, channel).id != 0);
    }
    while (pirn_channel_balance(channel) != -(int)info.workers) {
        TEST_CHECK(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0);
    }
    pirn_tasklet chooser = spawn_chooser(channel);
    pirn_snapshot *snapshot;
    TEST_CHECK(pirn_sleep_until(pirn_after(WATCHED_NS)) == 0); /* the other workers sleep, and look at no clock */
    TEST_CHECK(pirn_inspect(100, &snapshot, PIRN_FOREVER) == 0);
    TEST_CHECK(snapshot->worker_count == info.workers && !snapshot->truncated);
    TEST_CHECK(snapshot->live == info.workers + 2 && snapshot->tasklet_count == info.workers + 2);
    unsigned found = 0;
    for (size_t i = 0; i < snapshot->tasklet_count; i++) {
        const pirn_tasklet_info *one = &snapshot->tasklets[i];
        if (strcmp(one->name, "watched") == 0) {
            TEST_CHECK(strcmp(one->state, "parked") == 0);
            TEST_CHECK(strcmp(one->waiting_on, "receive on shuttle") == 0);
            TEST_CHECK(one->since_ns >= WATCHED_NS);
            TEST_CHECK(strncmp(one->spawned_at, "inspect_test.c:", 15) == 0);
            found++;
        } else if (one->id == chooser.id) {
            TEST_CHECK(strcmp(one->waiting_on, "select: receive on shuttle, send on nothing, 1 more") == 0);
        }
    }
    TEST_CHECK(found == info.workers);
    pirn_snapshot_drop(snapshot);
    TEST_CHECK(pirn_inspect(0, &snapshot, PIRN_FOREVER) == 0 && snapshot->tasklet_count == 0 && snapshot->truncated);
    pirn_snapshot_drop(snapshot);
    TEST_CHECK(pirn_inspect(0, &snapshot, PIRN_NOW) == PIRN_EAGAIN);
    TEST_CHECK(pirn_inspect(0, &snapshot, pirn_now() - 1) == PIRN_ETIMEDOUT);
    TEST_CHECK(pirn_cancel(chooser) == 0);
    pirn_channel_destroy(channel);
    return 0;
}

Test(inspect, snapshot_names_every_tasklet_and_its_wait) {
    /* Goal: all workers' tasklets with state, wait and birthplace; a limit that says so.
     * Method: one parked tasklet on each worker, looked at from main. */
    test_run_everywhere(look, NULL);
}

static int wait_with_words(void *channel) {
    char byte;
    pn_set_doing("GET http://weaver:secret@loom.example/cloth?x=1");
    (void)pirn_recv(channel, &byte, PIRN_FOREVER);
    pn_set_doing(NULL);
    return 0;
}

static int look_at_words(void *arg) {
    (void)arg;
    pirn_channel *channel = pirn_channel_create(1, 0);
    pirn_snapshot *snapshot;
    TEST_CHECK(pirn_spawn(wait_with_words, channel).id != 0);
    while (pirn_channel_balance(channel) != -1) {
        pirn_yield();
    }
    TEST_CHECK(pirn_inspect(100, &snapshot, PIRN_FOREVER) == 0);
    bool found = false;
    for (size_t i = 0; i < snapshot->tasklet_count; i++) {
        const pirn_tasklet_info *one = &snapshot->tasklets[i];
        TEST_CHECK(strstr(one->doing, "secret") == NULL && strstr(one->doing, "weaver") == NULL);
        found |= strcmp(one->name, "wait_with_words") == 0 && strstr(one->doing, "loom.example/cloth?x=1");
    }
    TEST_CHECK(found);
    pirn_snapshot_drop(snapshot);
    pirn_channel_close(channel);
    while (pirn_channel_balance(channel) != 0) {
        pirn_yield();
    }
    pirn_channel_destroy(channel);
    return 0;
}

Test(inspect, words_of_a_call_are_shown_without_a_password) {
    /* Goal: what a tasklet's call is about is in the snapshot, and a URL's user and password are not.
     * Method: a parked tasklet with a URL of both. */
    test_run_everywhere(look_at_words, NULL);
}
