/* SPDX-License-Identifier: MIT
 *
 * What: what a runtime reserves, and what it does when the system refuses: limits on address space and on descriptors,
 *       and locked memory.
 * Threads: the test's main thread sets the limits, of its own process.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "captured.h"
#include "modes.h"

#define PIECE 256 /* entries of the table that are reserved together */

static int echo(pirn_socket socket, void *context) {
    (void)context;
    char byte;
    size_t moved;
    while (pirn_read(socket, &byte, 1, &moved, PIRN_FOREVER) == 0 && moved > 0) {
        (void)pirn_write(socket, &byte, 1, NULL, PIRN_FOREVER);
    }
    return 0;
}

static pirn_listener *serve(char address[64]) {
    pirn_listener *listener;
    TEST_CHECK(pirn_listen("127.0.0.1:0", NULL, &listener) == 0);
    TEST_CHECK(pirn_serve(listener, "echo", echo, NULL) == 0);
    snprintf(address, 64, "127.0.0.1:%d", pirn_listener_port(listener));
    return listener;
}

/* One byte there and back. 0, or the code of the first call that failed. */
static int exchange(const char *address) {
    pirn_socket socket;
    char byte = 'y';
    size_t moved = 0;
    int error = pirn_connect(address, &socket, PIRN_FOREVER);
    if (error != 0) {
        return error;
    }
    error = pirn_write(socket, &byte, 1, NULL, PIRN_FOREVER);
    error = error ? error : pirn_read(socket, &byte, 1, &moved, pirn_after(10 * PIRN_SECOND));
    (void)pirn_close(socket);
    return error ? error : moved == 1 ? 0 : PIRN_ECLOSED;
}

static int one_exchange(void *arg) {
    (void)arg;
    char address[64];
    pirn_listener *listener = serve(address);
    TEST_CHECK(exchange(address) == 0);
    pirn_listener_close(listener);
    return 0;
}

/* A number of KiB of /proc/self/status. */
static size_t status_kib(const char *name) {
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kib = strtoul(line + strlen(name), NULL, 10);
        }
    }
    if (file) {
        fclose(file);
    }
    return kib;
}

static void limit_memory(size_t more_kib) {
    struct rlimit limit;
    TEST_CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = (rlim_t)(status_kib("VmSize:") + more_kib) * 1024;
    TEST_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void lift_memory_limit(void) {
    struct rlimit limit;
    TEST_CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    TEST_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

#ifdef PIRN_TEST_OWN_RUNNER
#define SKIP_WITH_SANITIZER() cr_skip_test("a sanitizer's shadow is terabytes of address space, and is never locked")
#else
#define SKIP_WITH_SANITIZER() ((void)0)
#endif

Test(descriptor, address_space_limit_leaves_room_to_serve) {
    /* Goal: a runtime serves where the address space is bounded (ulimit -v), in each mode.
     * Method: 128 MiB more than the process has; one exchange over a socket. */
    SKIP_WITH_SANITIZER();
    limit_memory(128 * 1024);
    test_run_everywhere(one_exchange, NULL);
}

static int not_reached(void *arg) {
    (void)arg;
    return 1;
}

Test(descriptor, address_space_refused_at_the_start_is_an_error_with_a_line) {
    /* Goal: a runtime that cannot reserve what it needs does not start; a line names the limit and the cure.
     * Method: no address space beyond what the process has; each mode; all of malloc's free memory is taken first. */
    SKIP_WITH_SANITIZER();
    for (size_t i = 0; i < TEST_MODES; i++) {
        pirn_options options;
        test_mode_options(&test_modes[i], &options);
        captured_begin();
        limit_memory(0);
        int status = pirn_run(&options, not_reached, NULL);
        lift_memory_limit();
        const char *text = captured_end();
        cr_assert_lt(status, 0, "%s: it ran", test_modes[i].name);
        cr_assert(strstr(text, "RLIMIT_AS") && strstr(text, "ulimit -v"), "%s: %s", test_modes[i].name, text);
    }
}

/* Take all descriptors below `end`; they stay taken. */
static void take_below(int end) {
    for (;;) {
        int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
        TEST_CHECK(fd >= 0);
        if (fd >= end) {
            close(fd);
            return;
        }
    }
}

/* Where a piece of the table begins that lies behind the next descriptor and that no run before this has used. */
static int piece_end(void) {
    static int end_before;
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    TEST_CHECK(fd >= 0);
    close(fd);
    int end = (fd / PIECE + 1) * PIECE;
    end_before = end > end_before ? end : end_before + PIECE;
    return end_before;
}

/* A client of the system's own calls, so that no descriptor of pirn's comes and goes meanwhile. */
static int raw_client(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TEST_CHECK(fd >= 0);
    return fd;
}

/* Connect it, send a byte, and wait for what comes back: 1, or 0 when the connection was closed. */
static int raw_exchange(int fd, int port) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char byte = 'y';
    ssize_t moved;
    TEST_CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    (void)send(fd, &byte, 1, MSG_NOSIGNAL);
    while ((moved = recv(fd, &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN) {
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    return moved == 1;
}

static void allow_descriptors(void) {
    struct rlimit limit;
    TEST_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    TEST_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static int ends_in_two_pieces(void *arg) {
    (void)arg;
    char address[64];
    pirn_listener *listener = serve(address);
    int client = raw_client();
    take_below(piece_end());
    TEST_CHECK(raw_exchange(client, pirn_listener_port(listener)) == 1);
    close(client);
    pirn_listener_close(listener);
    return 0;
}

Test(descriptor, numbers_of_several_pieces_are_served) {
    /* Goal: the table grows while it is used.
     * Method: the numbers of a piece but one are taken, so the two ends of a connection lie in two pieces. */
    allow_descriptors();
    test_run_everywhere(ends_in_two_pieces, NULL);
}

static int refuse_growth(void *arg) {
    (void)arg;
    enum { FRIENDS = 8, REFUSED = 3 };
    char address[64];
    int friends[FRIENDS], refused[REFUSED], last = -1;
    pirn_listener *listener = serve(address);
    int port = pirn_listener_port(listener);
    for (int i = 0; i < FRIENDS; i++) { /* so many that each worker has its stacks */
        friends[i] = raw_client();
        TEST_CHECK(raw_exchange(friends[i], port) == 1);
    }
    for (int i = 0; i < REFUSED; i++) {
        refused[i] = raw_client();
    }
    captured_begin();
    take_below(piece_end());
    limit_memory(0);
    for (int i = 0; i < REFUSED; i++) {
        TEST_CHECK(raw_exchange(refused[i], port) == 0);
    }
    lift_memory_limit();
    do { /* until the acceptor's pause is over */
        (void)close(last);
        last = raw_client();
    } while (raw_exchange(last, port) == 0);
    const char *text = captured_end();
    TEST_CHECK(captured_count(text, "is closed at once") == 1);
    TEST_CHECK(strstr(text, "ulimit -v"));
    close(last);
    for (int i = 0; i < FRIENDS; i++) {
        close(friends[i]);
    }
    for (int i = 0; i < REFUSED; i++) {
        close(refused[i]);
    }
    pirn_listener_close(listener);
    return 0;
}

Test(descriptor, refused_growth_is_told_once_and_tried_again) {
    /* Goal: a connection whose entry cannot be had is closed, one line says why, and when there is memory again the
     * next one is served, without a restart.
     * Method: the process may have no more address space just when the next piece is wanted; then it may. */
    SKIP_WITH_SANITIZER();
    allow_descriptors();
    test_run_everywhere(refuse_growth, NULL);
}

static int measure_locked(void *arg) {
    size_t before = *(size_t *)arg;
    int error = one_exchange(NULL);
    size_t cost = status_kib("VmRSS:") - before;
    TEST_CHECK(cost < 32 * 1024 || (fprintf(stderr, "%zu KiB\n", cost), false));
    return error;
}

Test(descriptor, locked_memory_costs_what_is_used) {
    /* Goal: a runtime in a process that locked its memory costs megabytes, and not all it may ever use.
     * Method: mlockall(2) for now and later; the resident size before the runtime, and after one exchange. */
    SKIP_WITH_SANITIZER();
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        cr_skip_test("this user may not lock memory");
    }
    for (size_t i = 0; i < TEST_MODES; i++) {
        size_t before = status_kib("VmRSS:");
        int result = test_run_in(&test_modes[i], measure_locked, &before);
        cr_assert_eq(result, 0, "%s: %d", test_modes[i].name, result);
    }
}
