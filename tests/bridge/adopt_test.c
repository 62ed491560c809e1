/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/adopt.c: what is taken over as a stream, and what is refused, in every mode and policy.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "captured.h"
#include "sockets.h"

static void expect_refused(int fd, const char *words) {
    pirn_socket none = {99};
    captured_begin();
    int code = pirn_socket_adopt(fd, &none);
    const char *said = captured_end();
    TEST_CHECK(code == PIRN_EINVAL && none.id == 99);
    if (!strstr(said, words)) {
        fprintf(stderr, "expected \"%s\" in: %s\n", words, said);
        TEST_CHECK(false);
    }
    TEST_CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0); /* it is as it was */
    close(fd);
}

static int refuse_what_is_no_stream(void *arg) {
    (void)arg;
    int pair[2];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TEST_CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
    expect_refused(listener, "it listens: use pirn_listen()");
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TEST_CHECK(bind(listener, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX}, sizeof(sa_family_t)) ==
                   0 &&
               listen(listener, 1) == 0);
    expect_refused(listener, "it listens");
    expect_refused(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "it is no stream socket");
    expect_refused(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "it is no stream socket");
    expect_refused(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "it is not connected: use pirn_connect()");
    expect_refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "it is not connected");
    expect_refused(eventfd(0, EFD_CLOEXEC), "it is no socket");
    TEST_CHECK(pipe2(pair, O_CLOEXEC) == 0);
    expect_refused(pair[0], "it is no socket");
    close(pair[1]);
    pirn_socket none;
    captured_begin();
    TEST_CHECK(pirn_socket_adopt(-1, &none) == PIRN_EINVAL);
    TEST_CHECK(strstr(captured_end(), "descriptor -1: Bad file descriptor") != NULL);
    return 0;
}

Test(adopt, what_is_no_stream_is_refused_with_the_cure) {
    /* Goal: only a connected stream is adopted; what is not is told what to use, and stays as it was.
     * Method: listeners, datagram and packet sockets, unconnected ones, no sockets, no descriptor. */
    test_run_everywhere(refuse_what_is_no_stream, NULL);
}

static int adopt_the_lost(void *arg) {
    (void)arg;
    char byte;
    size_t moved = 99;
    pirn_socket one;
    for (int reset = 0; reset < 2; reset++) {
        int pair[2];
        make_pair(pair);
        if (reset) {
            struct linger at_once = {.l_onoff = 1};
            TEST_CHECK(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
        }
        close(pair[1]);
        TEST_CHECK(pirn_socket_adopt(pair[0], &one) == 0);
        int code = pirn_read(one, &byte, 1, &moved, PIRN_FOREVER);
        TEST_CHECK(code == (reset ? -ECONNRESET : 0) && moved == 0);
        TEST_CHECK(pirn_close(one) == 0);
    }
    int pair[2];
    TEST_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    close(pair[1]);
    TEST_CHECK(pirn_socket_adopt(pair[0], &one) == 0);
    TEST_CHECK(pirn_read(one, &byte, 1, &moved, PIRN_FOREVER) == 0 && moved == 0);
    TEST_CHECK(pirn_close(one) == 0);
    return 0;
}

Test(adopt, a_lost_connection_tells_it_at_the_read) {
    /* Goal: a connection that its peer has closed or reset before the adoption is a connection, not a wrong argument.
     * Method: close, reset, and a pair of UNIX sockets; adopt what is left, and read. */
    test_run_everywhere(adopt_the_lost, NULL);
}
