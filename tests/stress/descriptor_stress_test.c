/* SPDX-License-Identifier: MIT
 *
 * What: one descriptor number in many lives, looked at by another worker all the time.
 * Threads: two workers and the performer of the policy.
 */
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modes.h"

static _Atomic(uint64_t) shown; /* the handle of the present life; 1: it is over */

static int look_at_each_life(void *arg) {
    (void)arg;
    uint64_t id;
    while ((id = atomic_load(&shown)) != 1) {
        char text[64];
        bool loopback;
        int code = pirn_socket_peer((pirn_socket){id}, text, sizeof text, &loopback);
        TEST_CHECK(code == 0 || code == PIRN_EBADF);
        pirn_yield();
    }
    return 0;
}

static int live_often(void *arg) {
    (void)arg;
    atomic_store(&shown, 0);
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    options.home = (int)info.workers - 1;
    pirn_tasklet looker = pirn_spawn_with(&options, look_at_each_life, NULL);
    uint64_t lives = pirn_test_count(20000, 500);
    for (uint64_t i = 0; i < lives; i++) {
        int pair[2];
        pirn_socket one;
        TEST_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
        TEST_CHECK(pirn_socket_adopt(pair[0], &one) == 0);
        atomic_store(&shown, one.id);
        for (unsigned turns = (unsigned)i % 8; turns > 0; turns--) {
            pirn_yield();
        }
        TEST_CHECK(pirn_close(one) == 0);
        close(pair[1]);
    }
    atomic_store(&shown, 1);
    return pirn_join(looker, NULL, PIRN_FOREVER);
}

/* Goal: what one thread read of a descriptor's entry is over before the entry begins its next life.
 * Method: a tasklet on the last worker asks for the peer of the present handle again and again, while main opens and
 *       closes. The entry's fields are plain memory, so ThreadSanitizer sees a release that does not publish. */
Test(descriptor_stress, entry_is_read_in_its_own_life, .timeout = 120) {
    test_run_everywhere(live_often, NULL);
}
