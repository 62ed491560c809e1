/* SPDX-License-Identifier: MIT
 *
 * What: socket operations as records, in every mode and policy, on real sockets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "socket.h"
#include "sockets.h"

static int read_and_write(void *arg) {
    (void)arg;
    int peer;
    size_t moved = 99;
    char text[16];
    pirn_socket one = adopt_one(&peer);
    TEST_CHECK(write(peer, "hello", 5) == 5);
    TEST_CHECK(pirn_read(one, text, sizeof text, &moved, PIRN_FOREVER) == 0 && moved == 5);
    TEST_CHECK(memcmp(text, "hello", 5) == 0);
    TEST_CHECK(pirn_write(one, "world", 5, &moved, PIRN_FOREVER) == 0 && moved == 5);
    TEST_CHECK(read(peer, text, sizeof text) == 5 && memcmp(text, "world", 5) == 0);
    close(peer);
    TEST_CHECK(pirn_read(one, text, sizeof text, &moved, PIRN_FOREVER) == 0 && moved == 0);
    TEST_CHECK(pirn_close(one) == 0 && pirn_close(one) == PIRN_EBADF);
    TEST_CHECK(pirn_read(one, text, sizeof text, &moved, PIRN_FOREVER) == PIRN_EBADF);
    return 0;
}

Test(socket, read_write_end_and_close_work) {
    /* Goal: bytes both ways, the end of the stream, and a stale handle after close.
     * Method: an adopted loopback connection against a plain descriptor. */
    test_run_everywhere(read_and_write, NULL);
}

static int timed_out_read(void *arg) {
    (void)arg;
    int peer;
    size_t moved = 99;
    char text[16];
    pirn_socket one = adopt_one(&peer);
    TEST_CHECK(pirn_read(one, text, sizeof text, &moved, pirn_after(PIRN_MILLISECOND)) == PIRN_ETIMEDOUT && moved == 0);
    TEST_CHECK(pirn_read(one, text, sizeof text, &moved, pirn_after(PIRN_MILLISECOND)) == PIRN_ETIMEDOUT);
    TEST_CHECK(write(peer, "late", 4) == 4);
    TEST_CHECK(pirn_read(one, text, sizeof text, &moved, PIRN_FOREVER) == 0 && moved == 4);
    TEST_CHECK(pirn_read(one, text, sizeof text, &moved, PIRN_NOW) == PIRN_EAGAIN && moved == 0);
    TEST_CHECK(write(peer, "more", 4) == 4);
    TEST_CHECK(pirn_read(one, text, sizeof text, &moved, PIRN_FOREVER) == 0 && moved == 4);
    close(peer);
    return pirn_close(one);
}

Test(socket, read_after_a_deadline_gets_the_bytes) {
    /* Goal: a withdrawn record is reused by the next read, and no byte is lost (rule 4).
     * Method: let reads time out before the peer writes, then read. */
    test_run_everywhere(timed_out_read, NULL);
}

static int reader_with_short_deadlines(void *arg) {
    pirn_socket one = *(pirn_socket *)arg;
    uint64_t count = pirn_test_count(20000, 1000), expected = 0;
    unsigned random = 12345;
    while (expected < count) {
        unsigned char bytes[7];
        size_t moved;
        random = random * 1103515245u + 12345u;
        int error = pirn_read(one, bytes, sizeof bytes, &moved, pirn_after((random >> 16) % 40 * PIRN_MICROSECOND));
        TEST_CHECK(error == 0 || error == PIRN_ETIMEDOUT);
        TEST_CHECK(error == 0 || moved == 0);
        for (size_t i = 0; i < moved; i++, expected++) {
            TEST_CHECK(bytes[i] == (unsigned char)expected);
        }
        TEST_CHECK(error != 0 || moved > 0);
    }
    return 0;
}

static int stream_survives_deadlines(void *arg) {
    (void)arg;
    int pair[2];
    pirn_socket reader, writer;
    make_pair(pair);
    TEST_CHECK(pirn_socket_adopt(pair[0], &reader) == 0 && pirn_socket_adopt(pair[1], &writer) == 0);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet task = pirn_spawn_with(&options, reader_with_short_deadlines, &reader);
    uint64_t count = pirn_test_count(20000, 1000);
    for (uint64_t sent = 0; sent < count; sent++) {
        unsigned char byte = (unsigned char)sent;
        TEST_CHECK(pirn_write(writer, &byte, 1, NULL, PIRN_FOREVER) == 0);
    }
    int result = -1;
    TEST_CHECK(pirn_join(task, &result, PIRN_FOREVER) == 0 && result == 0);
    (void)pirn_close(reader);
    return pirn_close(writer);
}

Test(socket, stream_with_random_deadlines_is_exact, .timeout = 120) {
    /* Goal: whatever the race between deadline and data, the stream has every byte once and in order (rule 4).
     * Method: single bytes sent one after the other against reads with deadlines of 0 to 40 us, seed 12345. */
    test_run_everywhere(stream_survives_deadlines, NULL);
}

static int blocked_reader(void *arg) {
    char byte;
    size_t moved;
    return pirn_read(*(pirn_socket *)arg, &byte, 1, &moved, PIRN_FOREVER);
}

static int count_workers(void) {
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    return (int)info.workers;
}

/* Until it waits in "read " or "write "; its record is with the performer then, or on its way there before anything we
 * send. */
static void wait_until_it_waits(pirn_tasklet task, const char *in) {
    bool waits = false;
    while (!waits) {
        pirn_snapshot *snapshot;
        TEST_CHECK(pirn_inspect(100, &snapshot, PIRN_FOREVER) == 0);
        for (size_t i = 0; i < snapshot->tasklet_count; i++) {
            const pirn_tasklet_info *one = &snapshot->tasklets[i];
            waits = waits || (one->id == task.id && strncmp(one->waiting_on, in, strlen(in)) == 0);
        }
        pirn_snapshot_drop(snapshot);
        TEST_CHECK(waits || pirn_sleep_until(pirn_after(100 * PIRN_MICROSECOND)) == 0);
    }
}

static int wake_by_close_and_cancel(void *arg) {
    (void)arg;
    int peer, result;
    for (int home = 0; home < count_workers(); home++) {
        pirn_socket one = adopt_one(&peer);
        pirn_tasklet reader = spawn_joinable(blocked_reader, &one, home);
        wait_until_it_waits(reader, "read ");
        char byte;
        size_t moved;
        TEST_CHECK(pirn_read(one, &byte, 1, &moved, pirn_after(PIRN_SECOND)) == PIRN_EBUSY);
        TEST_CHECK(pirn_cancel(reader) == 0);
        TEST_CHECK(pirn_join(reader, &result, PIRN_FOREVER) == 0 && result == PIRN_ECANCELED);
        reader = spawn_joinable(blocked_reader, &one, home);
        wait_until_it_waits(reader, "read ");
        TEST_CHECK(pirn_close(one) == 0);
        TEST_CHECK(pirn_join(reader, &result, PIRN_FOREVER) == 0 && result == PIRN_ECLOSED);
        close(peer);
    }
    return 0;
}

Test(socket, waiting_reader_wakes_at_cancel_and_close) {
    /* Goal: cancel ends a read now, close ends it with PIRN_ECLOSED, a second reader is PIRN_EBUSY; from every home.
     * Method: a parked reader on each worker, struck from worker 0. */
    test_run_everywhere(wake_by_close_and_cancel, NULL);
}

/* More than the system keeps for a peer that does not read. */
#define BIG_BYTES (8u << 20)

/* What is in byte n of a big write: n * 31, which repeats every 256. Filled in and compared by the library's calls:
 * byte by byte takes a sanitizer's build seconds. */
static char pattern[65536 + 256];

static char *make_big(size_t from, size_t bytes) {
    char *data = malloc(bytes);
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (char)(i * 31);
    }
    for (size_t i = 0; i < bytes; i += 65536) {
        memcpy(data + i, pattern + from % 256, bytes - i < 65536 ? bytes - i : 65536);
    }
    return data;
}

/* Read the peer to its end and compare. Returns how many bytes came. */
static size_t read_big(int peer) {
    static char chunk[65536];
    size_t total = 0;
    ssize_t count;
    while ((count = read(peer, chunk, sizeof chunk)) > 0) {
        TEST_CHECK(memcmp(chunk, pattern + total % 256, (size_t)count) == 0);
        total += (size_t)count;
    }
    TEST_CHECK(count == 0);
    return total;
}

/* Closed to open it: the reader of the write test begins when the writer's deadline has passed. */
static int gate[2];

static int big_writer(void *arg) {
    pirn_socket one = *(pirn_socket *)arg;
    size_t bytes = BIG_BYTES, moved = 0;
    char *data = make_big(0, bytes);
    int error = pirn_write(one, data, bytes, &moved, pirn_after(100 * PIRN_MILLISECOND));
    TEST_CHECK(error == PIRN_ETIMEDOUT && moved > 0 && moved < bytes);
    close(gate[1]);
    size_t rest = 0;
    error = pirn_write(one, data + moved, bytes - moved, &rest, PIRN_FOREVER);
    TEST_CHECK(error == 0 && rest == bytes - moved);
    free(data);
    return 0;
}

static int drain_plain(void *arg, pirn_result *out) {
    (void)out;
    char byte;
    TEST_CHECK(read(gate[0], &byte, 1) == 0);
    return read_big(*(int *)arg) == BIG_BYTES ? 0 : PIRN_EFAILED;
}

static int write_with_deadline(void *arg) {
    (void)arg;
    for (int home = 0; home < count_workers(); home++) {
        int peer, result;
        pirn_socket one = adopt_one(&peer);
        TEST_CHECK(pipe(gate) == 0);
        pirn_deferred *drained = pirn_offload(drain_plain, &peer, NULL);
        pirn_tasklet writer = spawn_joinable(big_writer, &one, home);
        TEST_CHECK(pirn_join(writer, &result, PIRN_FOREVER) == 0 && result == 0);
        TEST_CHECK(pirn_close(one) == 0);
        TEST_CHECK(pirn_await(drained, NULL, PIRN_FOREVER) == 0);
        pirn_deferred_release(drained);
        close(gate[0]);
        close(peer);
    }
    return 0;
}

Test(socket, write_deadline_tells_the_bytes_moved) {
    /* Goal: a write cut by its deadline tells exactly what went out, and the rest can follow (rule 4).
     * Method: 8 MiB, from a tasklet on each worker, against a reader that starts after the deadline and checks every
     *       byte. Where workers perform, one of them finishes what another had begun. */
    test_run_everywhere(write_with_deadline, NULL);
}

typedef struct cut_write {
    pirn_socket socket;
    size_t moved;
} cut_write;

static int write_one(void *arg) {
    cut_write *w = arg;
    return pirn_write(w->socket, &(char){0}, 1, &w->moved, PIRN_FOREVER);
}

static int write_until_cut(void *arg) {
    cut_write *w = arg;
    char *data = make_big(1, BIG_BYTES); /* behind the one byte */
    int error = pirn_write(w->socket, data, BIG_BYTES, &w->moved, PIRN_FOREVER);
    free(data);
    return error;
}

/* A reader waits on the socket all the time: its direction must not feel what happens to the other. */
static int cut_from_each_worker(void *arg) {
    (void)arg;
    for (int home = 0; home < count_workers(); home++) {
        int peer, result;
        cut_write w = {.socket = adopt_one(&peer)};
        pirn_tasklet reader = spawn_joinable(blocked_reader, &w.socket, 0);
        wait_until_it_waits(reader, "read ");
        pirn_tasklet writer = spawn_joinable(write_one, &w, home);
        TEST_CHECK(pirn_join(writer, &result, PIRN_FOREVER) == 0 && result == 0 && w.moved == 1);
        writer = spawn_joinable(write_until_cut, &w, home);
        wait_until_it_waits(writer, "write ");
        for (int unread = 0; unread <= 1;) { /* its record may wait for the performer: let that begin */
            TEST_CHECK(ioctl(peer, FIONREAD, &unread) == 0);
            TEST_CHECK(pirn_sleep_until(pirn_after(100 * PIRN_MICROSECOND)) == 0);
        }
        TEST_CHECK(pirn_cancel(writer) == 0);
        TEST_CHECK(pirn_join(writer, &result, PIRN_FOREVER) == 0 && result == PIRN_ECANCELED);
        TEST_CHECK(w.moved > 0 && w.moved < BIG_BYTES);
        TEST_CHECK(pirn_shutdown(w.socket) == 0);
        TEST_CHECK(read_big(peer) == 1 + w.moved);
        TEST_CHECK(write(peer, "x", 1) == 1);
        TEST_CHECK(pirn_join(reader, &result, PIRN_FOREVER) == 0 && result == 0);
        TEST_CHECK(pirn_close(w.socket) == 0);
        close(peer);
    }
    return 0;
}

Test(socket, half_done_write_of_any_worker_is_taken_back_exactly) {
    /* Goal: a write from a worker that is not the performer is tried there, handed over when the system takes no more,
     *       and taken back by a cancel; what it says to have moved is what the peer gets (rules 3, 4).
     * Method: from each worker 8 MiB to a peer that reads only after the cancel, beside a parked reader. */
    test_run_everywhere(cut_from_each_worker, NULL);
}

/* A tasklet that never stops and one that reads, on one worker: plain data between them is safe. */
static struct {
    int peer;
    bool stop;
    uint64_t asked, got, fewest; /* reads begun, reads ended; the fewest turns that one took               */
} busy;

/* A byte for the reader when it has been parked for some turns; then the turns until it has it. */
static int yield_and_feed(void *arg) {
    (void)arg;
    for (uint64_t fed = 0; !busy.stop;) {
        for (int i = 0; i < 100; i++) {
            pirn_yield();
        }
        if (busy.asked > fed) {
            uint64_t turns = 0;
            TEST_CHECK(write(busy.peer, "x", 1) == 1);
            for (pirn_time begun = pirn_now(); busy.got == fed; turns++) {
                TEST_CHECK(turns % 1000 != 999 || pirn_now() - begun < 30 * PIRN_SECOND);
                pirn_yield();
            }
            busy.fewest = turns < busy.fewest ? turns : busy.fewest;
            fed++;
        }
    }
    return 0;
}

static int read_beside_busy_one(void *arg) {
    (void)arg;
    int result;
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    uint64_t rounds = pirn_test_count(500, 20);
    pirn_socket one = adopt_one(&busy.peer);
    busy.stop = false;
    busy.asked = busy.got = 0;
    busy.fewest = UINT64_MAX;
    pirn_tasklet yielder = spawn_joinable(yield_and_feed, NULL, 0);
    for (uint64_t i = 0; i < rounds; i++) {
        char byte;
        size_t moved;
        busy.asked++;
        TEST_CHECK(pirn_read(one, &byte, 1, &moved, PIRN_FOREVER) == 0 && moved == 1);
        busy.got++;
    }
    busy.stop = true;
    TEST_CHECK(pirn_join(yielder, &result, PIRN_FOREVER) == 0 && result == 0);
    fprintf(stderr, "%s: after %llu turns of the busy one at least\n",
            info.mode == PIRN_MODE_SINGLE ? "single" : "threaded", (unsigned long long)busy.fewest);
    /* Where the worker itself looks, the system has the byte when write() returns, but for a rare delay. */
    bool looks_itself = info.mode == PIRN_MODE_SINGLE || info.poll == PIRN_POLL_WORKER;
    TEST_CHECK(!looks_itself || busy.fewest <= 61 + 1);
    close(busy.peer);
    return pirn_close(one);
}

Test(socket, bytes_come_beside_a_busy_tasklet) {
    /* Goal: a worker that always has a runnable tasklet still looks at its sockets, every 61 dispatches (rule 9).
     * Method: a tasklet that only yields feeds its neighbour byte by byte, and counts its own turns until each is
     *       read. */
    test_run_everywhere(read_beside_busy_one, NULL);
}

static int peer_resets(void *arg) {
    (void)arg;
    int peer;
    char byte;
    size_t moved;
    pirn_socket one = adopt_one(&peer);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    TEST_CHECK(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
    close(peer);
    TEST_CHECK(pirn_read(one, &byte, 1, &moved, PIRN_FOREVER) == -ECONNRESET);
    TEST_CHECK(pirn_write(one, "x", 1, &moved, PIRN_FOREVER) == -EPIPE && moved == 0);
    return pirn_close(one);
}

Test(socket, reset_by_the_peer_is_an_error_not_a_signal) {
    /* Goal: RST gives ECONNRESET to the reader and EPIPE, without SIGPIPE, to the writer.
     * Method: the peer closes with SO_LINGER 0. */
    test_run_everywhere(peer_resets, NULL);
}

static int connect_cases(void *arg) {
    (void)arg;
    pirn_socket one;
    TEST_CHECK(pirn_connect("localhost:1", &one, PIRN_FOREVER) == PIRN_EINVAL);
    TEST_CHECK(pirn_connect("127.0.0.1:1", &one, PIRN_FOREVER) == -ECONNREFUSED);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    TEST_CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0);
    TEST_CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
    TEST_CHECK(getsockname(listener, (struct sockaddr *)&address, &bytes) == 0);
    char text[64], peer[64];
    bool loopback;
    snprintf(text, sizeof text, "127.0.0.1:%d", ntohs(address.sin_port));
    TEST_CHECK(pirn_connect(text, &one, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_socket_peer(one, peer, sizeof peer, &loopback) == 0 && strcmp(peer, text) == 0 && loopback);
    close(listener);
    return pirn_close(one);
}

Test(socket, connect_works_or_tells_why_not) {
    /* Goal: connect, refusal, a bad address, and the peer's name.
     * Method: a plain listener, and port 1 of loopback where nobody listens. */
    test_run_everywhere(connect_cases, NULL);
}

static int numbers_are_reused(void *arg) {
    (void)arg;
    pirn_socket before = {0};
    for (int i = 0; i < 2000; i++) {
        int peer;
        char byte;
        size_t moved;
        pirn_socket one = adopt_one(&peer);
        TEST_CHECK(one.id != before.id);
        if (before.id) {
            TEST_CHECK(pirn_read(before, &byte, 1, &moved, PIRN_FOREVER) == PIRN_EBADF);
        }
        TEST_CHECK(write(peer, "z", 1) == 1);
        TEST_CHECK(pirn_read(one, &byte, 1, &moved, PIRN_FOREVER) == 0 && moved == 1 && byte == 'z');
        (void)pirn_read(one, &byte, 1, &moved, pirn_after(i % 3 * PIRN_MICROSECOND)); /* leaves a withdrawn record */
        TEST_CHECK(pirn_close(one) == 0);
        struct linger hard = {.l_onoff = 1, .l_linger = 0}; /* or 2,000 ports would be in TIME_WAIT afterwards */
        TEST_CHECK(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
        close(peer);
        before = one;
    }
    return 0;
}

Test(socket, reused_descriptor_numbers_are_new_sockets, .timeout = 120) {
    /* Goal: a handle of the life before is PIRN_EBADF, and a withdrawn record of it disturbs nobody (rule 4).
     * Method: 2,000 lives of the same few numbers, each closed with a read just withdrawn. */
    test_run_everywhere(numbers_are_reused, NULL);
}

static int fd_wait_cases(void *arg) {
    (void)arg;
    int ends[2];
    for (int i = 0; i < 200; i++) {
        TEST_CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
        TEST_CHECK(pirn_fd_wait(ends[1], PIRN_FD_WRITE, PIRN_FOREVER) == PIRN_FD_WRITE);
        TEST_CHECK(pirn_fd_wait(ends[0], PIRN_FD_READ, PIRN_NOW) == PIRN_EAGAIN);
        TEST_CHECK(pirn_fd_wait(ends[0], PIRN_FD_READ, pirn_after(i % 5 * 10 * PIRN_MICROSECOND)) == PIRN_ETIMEDOUT);
        TEST_CHECK(write(ends[1], "x", 1) == 1);
        TEST_CHECK(pirn_fd_wait(ends[0], PIRN_FD_READ, PIRN_FOREVER) == PIRN_FD_READ);
        close(ends[0]); /* at once after the wait: nothing of it may be left anywhere */
        close(ends[1]);
        int peer;
        pirn_socket one = adopt_one(&peer);
        TEST_CHECK(pirn_close(one) == 0);
        close(peer);
    }
    return pirn_fd_wait(-1, PIRN_FD_READ, PIRN_NOW) == PIRN_EINVAL ? 0 : PIRN_EFAILED;
}

Test(socket, fd_wait_leaves_nothing_behind) {
    /* Goal: readiness, deadline and PIRN_NOW on a foreign descriptor, which may be closed right after.
     * Method: pipes whose numbers are reused at once, also by sockets. */
    test_run_everywhere(fd_wait_cases, NULL);
}

static int write_later(void *arg, pirn_result *out) {
    (void)out;
    usleep(5000);
    return write(*(int *)arg, "x", 1) == 1 ? 0 : PIRN_EFAILED;
}

static int fd_wait_parks(void *arg) {
    (void)arg;
    int ends[2];
    TEST_CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
    pirn_deferred *writer = pirn_offload(write_later, &ends[1], NULL);
    TEST_CHECK(pirn_fd_wait(ends[0], PIRN_FD_READ, PIRN_FOREVER) == PIRN_FD_READ);
    TEST_CHECK(pirn_await(writer, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(writer);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

Test(socket, fd_wait_parks_until_ready) {
    /* Goal: the waiting tasklet is woken by the descriptor.
     * Method: another thread writes into the pipe after the tasklet has parked. */
    test_run_everywhere(fd_wait_parks, NULL);
}

typedef struct over_two_runs {
    pirn_socket socket;
    int peer;
} over_two_runs;

static int leave_open(void *arg) {
    over_two_runs *left = arg;
    char byte;
    size_t moved;
    left->socket = adopt_one(&left->peer);
    return pirn_read(left->socket, &byte, 1, &moved, pirn_after(PIRN_MILLISECOND)) == PIRN_ETIMEDOUT ? 0 : PIRN_EFAILED;
}

static int use_the_old(void *arg) {
    over_two_runs *left = arg;
    char byte;
    size_t moved;
    TEST_CHECK(read(left->peer, &byte, 1) == 0); /* the end of the first run has closed our side */
    TEST_CHECK(pirn_read(left->socket, &byte, 1, &moved, PIRN_FOREVER) == PIRN_EBADF);
    TEST_CHECK(pirn_close(left->socket) == PIRN_EBADF);
    close(left->peer);
    return 0;
}

Test(socket, handle_of_an_earlier_runtime_is_dead) {
    /* Goal: a socket that main left open is closed at the end of its runtime, and its handle means nothing to the next.
     * Method: two runs, with a read that was withdrawn in the first. */
    for (size_t mode = 0; mode < TEST_MODES; mode++) {
        over_two_runs left;
        cr_assert_eq(test_run_in(&test_modes[mode], leave_open, &left), 0);
        cr_assert_eq(test_run_in(&test_modes[mode], use_the_old, &left), 0);
    }
}

/* Two workers, one number: the second gets it when the first has closed a duplicate. A number so high that no other
 * thread, a watchdog that reads a file, say, is given it in between. */
enum { SHARED_NUMBER = 500 };

typedef struct hand_over {
    pirn_channel *closed, *taken, *written;
    int old_ends[2];
} hand_over;

static int take_the_number(void *arg) {
    hand_over *parts = arg;
    char byte;
    size_t moved;
    int number, ends[2];
    pirn_socket fresh;
    TEST_CHECK(pirn_recv(parts->closed, &number, PIRN_FOREVER) == 0);
    TEST_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    TEST_CHECK(fcntl(ends[0], F_DUPFD_CLOEXEC, SHARED_NUMBER) == number); /* the lowest free one from there on */
    close(ends[0]);
    TEST_CHECK(pirn_socket_adopt(number, &fresh) == 0);
    TEST_CHECK(pirn_send(parts->taken, &number, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_recv(parts->written, &number, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_read(fresh, &byte, 1, &moved, pirn_after(5 * PIRN_MILLISECOND)) == PIRN_ETIMEDOUT);
    TEST_CHECK(write(ends[1], "y", 1) == 1);
    TEST_CHECK(pirn_read(fresh, &byte, 1, &moved, PIRN_FOREVER) == 0 && byte == 'y');
    TEST_CHECK(pirn_close(fresh) == 0);
    close(ends[1]);
    return 0;
}

static int close_a_duplicate(void *arg) {
    (void)arg;
    hand_over parts = {.closed = pirn_channel_create(sizeof(int), 0),
                       .taken = pirn_channel_create(sizeof(int), 0),
                       .written = pirn_channel_create(sizeof(int), 0)};
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.home = 1;
    options.flags = PIRN_JOINABLE;
    pirn_tasklet other = pirn_spawn_with(&options, take_the_number, &parts);
    TEST_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, parts.old_ends) == 0);
    int number = fcntl(parts.old_ends[0], F_DUPFD_CLOEXEC, SHARED_NUMBER);
    pirn_socket old;
    char byte;
    size_t moved;
    TEST_CHECK(pirn_socket_adopt(number, &old) == 0);
    TEST_CHECK(pirn_read(old, &byte, 1, &moved, pirn_after(PIRN_MILLISECOND)) == PIRN_ETIMEDOUT);
    TEST_CHECK(pirn_close(old) == 0);
    TEST_CHECK(pirn_send(parts.closed, &number, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_recv(parts.taken, &number, PIRN_FOREVER) == 0);
    TEST_CHECK(write(parts.old_ends[1], "x", 1) == 1); /* news of the old socket, which its first number still has */
    (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    TEST_CHECK(pirn_send(parts.written, &number, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_join(other, NULL, PIRN_FOREVER) == 0);
    close(parts.old_ends[0]);
    close(parts.old_ends[1]);
    pirn_channel_destroy(parts.closed);
    pirn_channel_destroy(parts.taken);
    pirn_channel_destroy(parts.written);
    return 0;
}

Test(socket, closed_duplicate_tells_the_number_nothing) {
    /* Goal: closing takes a socket out of its set also while somebody else has the same one open: its news must not
     *       reach the number's next owner, on another worker.
     * Method: each worker has its set; close a duplicate, let the other worker take the number, and make news. */
    const test_mode *workers_perform = &test_modes[1];
    for (unsigned round = 0; round < pirn_test_count(50, 5); round++) {
        cr_assert_eq(test_run_in(workers_perform, close_a_duplicate, NULL), 0);
    }
}

static int try_now(void *arg) {
    (void)arg;
    char bytes[4096] = {0};
    size_t moved, total = 0;
    int peer;
    pirn_socket one = adopt_one(&peer);
    TEST_CHECK(pirn_read(one, bytes, sizeof bytes, &moved, PIRN_NOW) == PIRN_EAGAIN && moved == 0);
    TEST_CHECK(write(peer, "now", 3) == 3);
    TEST_CHECK(pirn_read(one, bytes, 2, &moved, PIRN_NOW) == 0 && moved == 2 && memcmp(bytes, "no", 2) == 0);
    TEST_CHECK(pirn_read(one, bytes, sizeof bytes, &moved, PIRN_FOREVER) == 0 && moved == 1 && bytes[0] == 'w');
    int error;
    do {
        error = pirn_write(one, bytes, sizeof bytes, &moved, PIRN_NOW);
        total += moved;
    } while (error == 0);
    TEST_CHECK(error == PIRN_EAGAIN && total > 0);
    while (total > 0) {
        ssize_t count = read(peer, bytes, sizeof bytes);
        TEST_CHECK(count > 0);
        total -= (size_t)count;
    }
    close(peer);
    TEST_CHECK(pirn_read(one, bytes, sizeof bytes, &moved, PIRN_FOREVER) == 0 && moved == 0);
    TEST_CHECK(pirn_read(one, bytes, sizeof bytes, &moved, PIRN_NOW) == 0 && moved == 0);
    TEST_CHECK(pirn_close(one) == 0);
    TEST_CHECK(pirn_read(one, bytes, sizeof bytes, &moved, PIRN_NOW) == PIRN_EBADF);
    return 0;
}

Test(socket, now_is_tried_at_once_whoever_performs) {
    /* Goal: a read or write with PIRN_NOW moves what can be moved now, in every mode alike, and never waits.
     * Method: without data, with data, until the peer's buffer is full, at the end of the stream. */
    test_run_everywhere(try_now, NULL);
}

/* Bytes that come during a wait for the hang-up are read after it, and neither they nor a half close end it. */
static int wait_for_a_hangup(void *arg) {
    (void)arg;
    for (unsigned round = 0; round < pirn_test_count(200, 40); round++) {
        int peer;
        size_t moved, total = 0;
        char bytes[64];
        pirn_socket one = adopt_one(&peer);
        for (unsigned i = 0; i < 1 + round % 3; i++) {
            bool before = round & 4;
            TEST_CHECK(!before || write(peer, "abc", 3) == 3);
            pirn_time patience = pirn_after((round % 5) * 20 * PIRN_MICROSECOND + 1);
            TEST_CHECK(pn_socket_await_hangup(one, patience) == PIRN_ETIMEDOUT);
            TEST_CHECK(before || write(peer, "abc", 3) == 3);
            total += 3;
            while (total > 0 && (round & 8)) {
                TEST_CHECK(pirn_read(one, bytes, 2, &moved, PIRN_FOREVER) == 0 && moved > 0);
                total -= moved;
            }
        }
        while (total > 0) {
            TEST_CHECK(pirn_read(one, bytes, sizeof bytes, &moved, PIRN_FOREVER) == 0 && moved > 0);
            total -= moved;
        }
        if (round & 1) {
            TEST_CHECK(shutdown(peer, SHUT_WR) == 0);
            TEST_CHECK(pirn_read(one, bytes, sizeof bytes, &moved, PIRN_FOREVER) == 0 && moved == 0);
            TEST_CHECK(pn_socket_await_hangup(one, pirn_after(50 * PIRN_MICROSECOND)) == PIRN_ETIMEDOUT);
            TEST_CHECK(pirn_write(one, "still served", 12, &moved, PIRN_FOREVER) == 0);
        }
        struct linger now = {.l_onoff = 1};
        TEST_CHECK(setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0 && close(peer) == 0);
        TEST_CHECK(pn_socket_await_hangup(one, PIRN_FOREVER) == -ECONNRESET);
        TEST_CHECK(pn_socket_await_hangup(one, PIRN_FOREVER) == -ECONNRESET);
        TEST_CHECK(pirn_close(one) == 0 && pn_socket_await_hangup(one, PIRN_FOREVER) == PIRN_EBADF);
    }
    return 0;
}

Test(socket, hangup_is_told_and_bytes_and_half_close_are_none, .timeout = 60) {
    /* Goal: a wait for the hang-up ends with a reset only, and takes no byte from the reads around it.
     * Method: waits that time out before and after bytes came, reads of different sizes, half closes, then a reset. */
    test_run_everywhere(wait_for_a_hangup, NULL);
}

/* "[fe80::1%eth0]" of some interface; false: this machine has none. */
static bool find_link_local(char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 3]) {
    struct ifaddrs *all, *one;
    bool found = false;
    TEST_CHECK(getifaddrs(&all) == 0);
    for (one = all; one && !found; one = one->ifa_next) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)one->ifa_addr;
        if (six && six->sin6_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr)) {
            char host[INET6_ADDRSTRLEN];
            TEST_CHECK(inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host) != NULL);
            sprintf(text, "[%s%%%s]", host, one->ifa_name);
            found = true;
        }
    }
    freeifaddrs(all);
    return found;
}

static int tell_peer(pirn_socket socket, void *context) {
    char peer[100];
    size_t moved;
    (void)context;
    TEST_CHECK(pirn_socket_peer(socket, peer, sizeof peer, NULL) == 0);
    return pirn_write(socket, peer, strlen(peer), &moved, PIRN_FOREVER);
}

static int connect_with_zone(void *arg) {
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 3], address[100], peer[100] = "", end[100];
    size_t moved, total = 0;
    pirn_listener *listener;
    pirn_socket socket;
    (void)arg;
    TEST_CHECK(pirn_connect("[fe80::1%nowhere0]:80", &socket, PIRN_FOREVER) == -ENODEV);
    TEST_CHECK(pirn_listen("[fe80::1%nowhere0]:80", NULL, &listener) == -ENODEV);
    if (!find_link_local(host)) {
        return 0;
    }
    snprintf(address, sizeof address, "%s:0", host);
    TEST_CHECK(pirn_listen(address, NULL, &listener) == 0);
    snprintf(address, sizeof address, "%s:%d", host, pirn_listener_port(listener));
    TEST_CHECK(pirn_serve(listener, "peer", tell_peer, NULL) == 0);
    TEST_CHECK(pirn_connect(address, &socket, PIRN_FOREVER) == 0);
    TEST_CHECK(pirn_socket_peer(socket, end, sizeof end, NULL) == 0 && strcmp(end, address) == 0);
    while (pirn_read(socket, peer + total, sizeof peer - 1 - total, &moved, PIRN_FOREVER) == 0 && moved > 0) {
        total += moved;
    }
    TEST_CHECK(strncmp(peer, host, strlen(host)) == 0);
    TEST_CHECK(pirn_close(socket) == 0);
    pirn_listener_close(listener);
    return 0;
}

Test(socket, address_with_a_zone_is_connected_to_and_told) {
    /* Goal: a link-local address works with its zone, and both ends are told with it; an unknown zone has its code.
     * Method: an interface of this machine that has one, if any: listen on it, connect, and compare the texts. */
    test_run_everywhere(connect_with_zone, NULL);
}
