/* SPDX-License-Identifier: MIT
 *
 * What: listening, accepting by each policy, the limits, and stopping.
 */
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "captured.h"
#include "modes.h"

static int echo(pirn_socket socket, void *context) {
    (void)context;
    char bytes[256];
    size_t moved;
    while (pirn_read(socket, bytes, sizeof bytes, &moved, PIRN_FOREVER) == 0 && moved > 0) {
        if (pirn_write(socket, bytes, moved, NULL, PIRN_FOREVER) != 0) {
            break;
        }
    }
    return 0;
}

static pirn_listener *listen_and_serve(char address[64], const pirn_listen_options *options) {
    pirn_listener *listener;
    TEST_CHECK(pirn_listen("127.0.0.1:0", options, &listener) == 0);
    TEST_CHECK(pirn_serve(listener, "echo", echo, NULL) == 0);
    snprintf(address, 64, "127.0.0.1:%d", pirn_listener_port(listener));
    return listener;
}

static void say(pirn_socket socket, const char *text) {
    char back[64];
    size_t moved;
    TEST_CHECK(pirn_write(socket, text, strlen(text), NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_read(socket, back, sizeof back, &moved, PIRN_FOREVER) == 0);
    TEST_CHECK(moved == strlen(text) && memcmp(back, text, moved) == 0);
}

static int many_connections(void *arg) {
    (void)arg;
    char address[64];
    pirn_socket sockets[200];
    pirn_listener *listener = listen_and_serve(address, NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            TEST_CHECK(pirn_connect(address, &sockets[i], PIRN_FOREVER) == 0);
        }
        for (int i = 0; i < 200; i++) {
            say(sockets[i], "yarn");
        }
        for (int i = 0; i < 200; i++) {
            TEST_CHECK(pirn_close(sockets[i]) == 0);
        }
    }
    pirn_listener_close(listener);
    TEST_CHECK(pirn_connect(address, &sockets[0], PIRN_FOREVER) == -ECONNREFUSED);
    return 0;
}

Test(listener, serves_many_and_refuses_after_close) {
    /* Goal: every connection gets its tasklet; after close nobody listens, and connections that were open went on.
     * Method: three rounds of 200 echo clients. */
    test_run_everywhere(many_connections, NULL);
}

static int same_port_twice(void *arg) {
    (void)arg;
    char address[64];
    pirn_listener *second, *listener = listen_and_serve(address, NULL);
    TEST_CHECK(pirn_listen(address, NULL, &second) == -EADDRINUSE);
    TEST_CHECK(pirn_serve(listener, "echo", echo, NULL) == PIRN_EALREADY);
    TEST_CHECK(pirn_listen("nowhere", NULL, &second) == PIRN_EINVAL);
    TEST_CHECK(pirn_listen("127.0.0.1:70000", NULL, &second) == PIRN_EINVAL);
    pirn_listener_close(listener);
    TEST_CHECK(pirn_listen(address, NULL, &second) == 0);
    pirn_listener_close(second); /* one that never served */
    return 0;
}

Test(listener, taken_port_and_bad_address_are_errors) {
    /* Goal: a port that is listened on is EADDRINUSE, in the group policy too; free again after close.
     * Method: listen twice on the port the system gave. */
    test_run_everywhere(same_port_twice, NULL);
}

static int limit_of_connections(void *arg) {
    (void)arg;
    char address[64], byte;
    size_t moved;
    pirn_listen_options options = {.connections_max = 2};
    pirn_listener *listener = listen_and_serve(address, &options);
    pirn_socket one, two, three;
    TEST_CHECK(pirn_connect(address, &one, PIRN_FOREVER) == 0);
    say(one, "1");
    TEST_CHECK(pirn_connect(address, &two, PIRN_FOREVER) == 0);
    say(two, "2");
    TEST_CHECK(pirn_connect(address, &three, PIRN_FOREVER) == 0); /* the kernel's queue has it */
    TEST_CHECK(pirn_write(three, "3", 1, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_read(three, &byte, 1, &moved, pirn_after(50 * PIRN_MILLISECOND)) == PIRN_ETIMEDOUT);
    TEST_CHECK(pirn_close(one) == 0);
    TEST_CHECK(pirn_read(three, &byte, 1, &moved, PIRN_FOREVER) == 0 && byte == '3');
    TEST_CHECK(pirn_close(two) == 0 && pirn_close(three) == 0);
    pirn_listener_close(listener);
    return 0;
}

Test(listener, connections_above_the_limit_wait) {
    /* Goal: above connections_max accepting stops, and goes on when one closes.
     * Method: two echo connections, a third that is answered only after the first has closed. */
    test_run_everywhere(limit_of_connections, NULL);
}

static int out_of_descriptors(void *arg) {
    (void)arg;
    char address[64], byte;
    size_t moved;
    pirn_listener *listener = listen_and_serve(address, NULL);
    pirn_socket old, fresh;
    TEST_CHECK(pirn_connect(address, &old, PIRN_FOREVER) == 0);
    say(old, "a");
    int filler[4096], count = 0;
    while (count < 4096 && (filler[count] = dup(0)) >= 0) {
        count++;
    }
    TEST_CHECK(count > 0 && count < 4096);
    close(filler[--count]); /* room for the client's own socket, none for the accepted one */
    TEST_CHECK(pirn_connect(address, &fresh, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_write(fresh, "b", 1, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_read(fresh, &byte, 1, &moved, pirn_after(30 * PIRN_MILLISECOND)) == PIRN_ETIMEDOUT);
    say(old, "still here");
    while (count > 0) {
        close(filler[--count]);
    }
    TEST_CHECK(pirn_read(fresh, &byte, 1, &moved, PIRN_FOREVER) == 0 && byte == 'b');
    TEST_CHECK(pirn_close(old) == 0 && pirn_close(fresh) == 0);
    pirn_listener_close(listener);
    return 0;
}

Test(listener, out_of_descriptors_pauses_and_goes_on) {
    /* Goal: EMFILE stops accepting, disturbs nobody who is connected, and ends by itself.
     * Method: fill the descriptor table of a small limit, connect, free it again. */
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    cr_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    test_run_everywhere(out_of_descriptors, NULL);
}

/* What main leaves open is its own leak; here something still points to it, or LeakSanitizer would tell of it. */
static pirn_listener *left_open[TEST_MODES];

static int leave_it_open(void *arg) {
    char address[64];
    *(pirn_listener **)arg = listen_and_serve(address, NULL);
    pirn_socket client;
    TEST_CHECK(pirn_connect(address, &client, PIRN_FOREVER) == 0);
    say(client, "x");
    return 0; /* neither listener nor client are closed: the shutdown does it */
}

Test(listener, shutdown_stops_what_main_left_open) {
    /* Goal: main returns with an open listener and a parked connection: pirn_run still returns (rule 19).
     * Method: exactly that. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        int result = test_run_in(&test_modes[i], leave_it_open, &left_open[i]);
        cr_assert(result == 0, "%s: main ended with %d", test_modes[i].name, result);
    }
}

static int close_when_told(void *arg) {
    char address[64], byte;
    pirn_listener *listener = listen_and_serve(address, NULL);
    TEST_CHECK(pirn_recv(arg, &byte, PIRN_FOREVER) == PIRN_ECLOSED);
    pirn_listener_close(listener);
    return 0;
}

static int end_as_they_close(void *arg) {
    pirn_channel *told = *(pirn_channel **)arg = pirn_channel_create(1, 0);
    for (int i = 0; i < 8; i++) {
        TEST_CHECK(pirn_spawn(close_when_told, told).id != 0);
    }
    while (pirn_channel_balance(told) > -8) {
        pirn_yield();
    }
    pirn_channel_close(told);
    return 0; /* and so the runtime stops the same listeners */
}

Test(listener, closed_while_the_runtime_stops_it) {
    /* Goal: a listener's opener and the end of the runtime may stop it at the same time; it is closed and freed once.
     * Method: eight tasklets close theirs just as main returns; the sanitizers look for what is freed too early, or
     *       not. */
    for (size_t mode = 0; mode < TEST_MODES; mode++) {
        for (unsigned round = 0; round < pirn_test_count(50, 5); round++) {
            pirn_channel *told = NULL;
            cr_assert_eq(test_run_in(&test_modes[mode], end_as_they_close, &told), 0);
            pirn_channel_destroy(told);
        }
    }
}

static int serve_late(void *arg) {
    int *result = arg;
    pirn_listener *listener;
    while (pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0) {
        /* until main has returned, and we are cancelled */
    }
    TEST_CHECK(pirn_listen("127.0.0.1:0", NULL, &listener) == 0);
    *result = pirn_serve(listener, "late", echo, NULL);
    pirn_listener_close(listener);
    return 0;
}

static int leave_a_server(void *arg) {
    TEST_CHECK(pirn_spawn(serve_late, arg).id != 0);
    return pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
}

Test(listener, serving_after_main_returned_is_refused) {
    /* Goal: who begins to serve when the runtime is already ending gets PIRN_ECLOSED, and does not hold it.
     * Method: a tasklet that main leaves behind serves when it is cancelled. */
    for (size_t mode = 0; mode < TEST_MODES; mode++) {
        int result = 0;
        cr_assert_eq(test_run_in(&test_modes[mode], leave_a_server, &result), 0);
        cr_assert_eq(result, PIRN_ECLOSED, "%s: %d", test_modes[mode].name, result);
    }
}

static int out_of_descriptors_is_told(void *arg) {
    (void)arg;
    char address[64], byte;
    size_t moved;
    pirn_listener *listener = listen_and_serve(address, NULL);
    pirn_socket fresh;
    captured_begin();
    int filler[64], count = 0;
    while (count < 64 && (filler[count] = dup(0)) >= 0) {
        count++;
    }
    close(filler[--count]); /* for the client */
    TEST_CHECK(pirn_connect(address, &fresh, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_write(fresh, "b", 1, NULL, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_read(fresh, &byte, 1, &moved, pirn_after(350 * PIRN_MILLISECOND)) == PIRN_ETIMEDOUT);
    while (count > 0) {
        close(filler[--count]);
    }
    TEST_CHECK(pirn_read(fresh, &byte, 1, &moved, PIRN_FOREVER) == 0 && byte == 'b');
    TEST_CHECK(pirn_close(fresh) == 0);
    pirn_listener_close(listener);
    const char *text = captured_end();
    TEST_CHECK(captured_count(text, "cannot be accepted") == 1);
    TEST_CHECK(captured_count(text, "RLIMIT_NOFILE") == 1);
    return 0;
}

Test(listener, out_of_descriptors_is_told_once) {
    /* Goal: connections that cannot be accepted are told by one line that names the limit, however often it is tried.
     * Method: no descriptor is free for three of the acceptor's pauses. */
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    cr_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    test_run_everywhere(out_of_descriptors_is_told, NULL);
}

/* ---- the backlog at a close ---- */

#define WAITING 60

static int close_over_a_backlog(void *arg) {
    pirn_socket sockets[WAITING];
    char address[64];
    pirn_listen_options options = {.connections_max = *(unsigned *)arg};
    pirn_listener *listener = listen_and_serve(address, &options);
    for (int i = 0; i < WAITING; i++) {
        TEST_CHECK(pirn_connect(address, &sockets[i], PIRN_FOREVER) == 0);
        TEST_CHECK(pirn_write(sockets[i], "weft", 4, NULL, PIRN_FOREVER) == 0);
    }
    pirn_listener_close(listener);
    for (int i = 0; i < WAITING; i++) {
        char back[8];
        size_t moved = 0;
        TEST_CHECK(pirn_read(sockets[i], back, sizeof back, &moved, PIRN_FOREVER) == 0);
        TEST_CHECK(moved == 4 && memcmp(back, "weft", 4) == 0);
        TEST_CHECK(pirn_close(sockets[i]) == 0);
    }
    return 0;
}

/* Goal: who had connected before a listener's close is served, also who waits above its limit.
 * Method: sixty connections with a message in each, closed over at once, with and without a limit of five. */
Test(listener, backlog_is_served_at_a_close) {
    static unsigned limits[] = {0, 5};
    for (size_t i = 0; i < 2; i++) {
        test_run_everywhere(close_over_a_backlog, &limits[i]);
    }
}
