/* SPDX-License-Identifier: MIT
 *
 * What: the smallest program: two tasklets take turns, and main waits for both.
 * Answers to Stackless' first page: stackless.tasklet(f)(arg); stackless.run().
 */
#include <stdio.h>

#include <pirn.h>

static int greet(void *arg) {
    const char *name = arg;
    for (int i = 1; i <= 3; i++) {
        printf("%s %d\n", name, i);
        pirn_yield();
    }
    return 0;
}

static int run(void *unused) {
    (void)unused;
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet ping = pirn_spawn_with(&options, greet, "warp");
    pirn_tasklet pong = pirn_spawn_with(&options, greet, "weft");
    int status = pirn_join(ping, NULL, PIRN_FOREVER);
    return status ? status : pirn_join(pong, NULL, PIRN_FOREVER);
}

int main(void) {
    return pirn_run(NULL, run, NULL) ? 1 : 0;
}
