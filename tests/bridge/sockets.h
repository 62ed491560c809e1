/* SPDX-License-Identifier: MIT
 *
 * What: what the tests of sockets share: connected pairs, one end of which is pirn's, and tasklets to join.
 * Threads: a tasklet's.
 */
#ifndef PIRN_TEST_SOCKETS_H
#define PIRN_TEST_SOCKETS_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modes.h"

/* Two connected TCP descriptors on loopback: [0] for pirn, [1] stays plain and blocking. The port may be one of those
 * that thousands of earlier connections still have in TIME_WAIT. */
static inline void make_pair(int pair[2]) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    TEST_CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0);
    TEST_CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
    TEST_CHECK(getsockname(listener, (struct sockaddr *)&address, &bytes) == 0);
    pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TEST_CHECK(connect(pair[1], (struct sockaddr *)&address, sizeof address) == 0);
    pair[0] = accept(listener, NULL, NULL);
    TEST_CHECK(pair[0] >= 0);
    close(listener);
}

static inline pirn_socket adopt_one(int *peer) {
    int pair[2];
    pirn_socket adopted;
    make_pair(pair);
    TEST_CHECK(pirn_socket_adopt(pair[0], &adopted) == 0);
    *peer = pair[1];
    return adopted;
}

static inline pirn_tasklet spawn_joinable(pirn_fn fn, void *arg, int home) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    options.home = home;
    pirn_tasklet task = pirn_spawn_with(&options, fn, arg);
    TEST_CHECK(task.id != 0);
    return task;
}

#endif
