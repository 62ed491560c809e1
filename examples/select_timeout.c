/* SPDX-License-Identifier: MIT
 *
 * What: wait for the first of two channels, or for a deadline. A deadline is a point in time, so the loop below ends
 *       after 100 ms however many values came meanwhile.
 */
#include <stdio.h>

#include <pirn.h>

typedef struct source {
    pirn_channel *channel;
    pirn_time interval_ns;
} source;

/* Send 1, 2, 3, ... until the channel is closed. */
static int tick(void *arg) {
    source *self = arg;
    for (int number = 1;; number++) {
        int status = pirn_sleep_until(pirn_after(self->interval_ns));
        status = status ? status : pirn_send(self->channel, &number, PIRN_FOREVER);
        if (status) {
            return status == PIRN_ECLOSED ? 0 : status;
        }
    }
}

static int hear(pirn_channel *fast, pirn_channel *slow) {
    pirn_time deadline = pirn_after(100 * PIRN_MILLISECOND);
    for (;;) {
        int number = 0;
        pirn_case cases[] = {
            {.channel = fast, .direction = PIRN_RECV, .elem = &number},
            {.channel = slow, .direction = PIRN_RECV, .elem = &number},
        };
        int chosen = pirn_select(cases, 2, deadline);
        if (chosen == PIRN_ETIMEDOUT) {
            printf("time is up\n");
            return 0;
        }
        if (chosen < 0) {
            return chosen;
        }
        printf("%s %d\n", chosen == 0 ? "fast" : "slow", number);
    }
}

static int run(void *unused) {
    (void)unused;
    source fast = {pirn_channel_create(sizeof(int), 0), 15 * PIRN_MILLISECOND};
    source slow = {pirn_channel_create(sizeof(int), 0), 40 * PIRN_MILLISECOND};
    if (!fast.channel || !slow.channel) {
        return PIRN_ENOMEM;
    }
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet first = pirn_spawn_with(&options, tick, &fast);
    pirn_tasklet second = pirn_spawn_with(&options, tick, &slow);
    int status = hear(fast.channel, slow.channel);
    pirn_channel_close(fast.channel);
    pirn_channel_close(slow.channel);
    pirn_join(first, NULL, PIRN_FOREVER);
    pirn_join(second, NULL, PIRN_FOREVER);
    pirn_channel_destroy(fast.channel);
    pirn_channel_destroy(slow.channel);
    return status;
}

int main(void) {
    return pirn_run(NULL, run, NULL) ? 1 : 0;
}
