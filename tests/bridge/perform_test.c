/* SPDX-License-Identifier: MIT
 *
 * What: how records are performed beside others: at once, a share a turn, and without keeping neighbours from theirs;
 *       in every mode and policy, on real sockets.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include "sockets.h"
#include "worker.h"

enum { PATIENCE_MS = 10000, SHARE = 256 << 10 };

static bool told(int fd, short events) {
    struct pollfd look = {.fd = fd, .events = events};
    return poll(&look, 1, PATIENCE_MS) == 1 && (look.revents & events) != 0;
}

static int write_byte(void *arg) {
    size_t moved;
    int error = pirn_write(*(pirn_socket *)arg, "x", 1, &moved, PIRN_FOREVER);
    return error == 0 && moved == 1 ? 0 : PIRN_EFAILED;
}

static int keep_the_worker(void *arg) {
    return told(*(int *)arg, POLLIN) ? 0 : PIRN_EFAILED;
}

static int write_beside_a_long_slice(void *arg) {
    (void)arg;
    int peer, status;
    pirn_socket one = adopt_one(&peer);
    for (int round = 0; round < 20; round++) {
        char byte;
        TEST_CHECK(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0); /* so that the performer sleeps */
        pirn_tasklet writer = spawn_joinable(write_byte, &one, 0);
        pirn_tasklet keeper = spawn_joinable(keep_the_worker, &peer, 0);
        TEST_CHECK(pirn_join(writer, &status, PIRN_FOREVER) == 0 && status == 0);
        TEST_CHECK(pirn_join(keeper, &status, PIRN_FOREVER) == 0 && status == 0);
        TEST_CHECK(read(peer, &byte, 1) == 1);
    }
    close(peer);
    return pirn_close(one);
}

Test(perform, write_leaves_before_a_neighbours_slice_ends, .timeout = 120) {
    /* Goal: a record that was handed over is performed though a neighbour keeps the worker (rule 7).
     * Method: a tasklet writes; the next one in the queue keeps the worker until the peer has the byte. */
    test_run_everywhere(write_beside_a_long_slice, NULL);
}

static int close_in_a_long_slice(void *arg) {
    (void)arg;
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    for (int round = 0; round < 20; round++) {
        int peer;
        pirn_socket one = adopt_one(&peer);
        TEST_CHECK(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0);
        TEST_CHECK(pirn_close(one) == 0);
        TEST_CHECK(told(peer, POLLRDHUP)); /* in the same slice */
        close(peer);
    }
    return 0;
}

Test(perform, close_needs_no_end_of_the_slice, .timeout = 120) {
    /* Goal: a close, after which its tasklet does not park, is performed at once, too.
     * Method: close, and wait for the end of the stream on the peer without leaving the slice. */
    test_run_everywhere(close_in_a_long_slice, NULL);
}

static bool neighbour_ran;

static int note_a_turn(void *arg) {
    (void)arg;
    neighbour_ran = true;
    return 0;
}

static int read_for_ever(void *arg) {
    (void)arg;
    int peer;
    pirn_socket one = adopt_one(&peer);
    neighbour_ran = false;
    TEST_CHECK(pirn_spawn(note_a_turn, NULL).id != 0);
    for (int reads = 0; !neighbour_ran; reads++) {
        char byte;
        size_t moved;
        TEST_CHECK(reads < 1000);
        TEST_CHECK(write(peer, "x", 1) == 1);
        TEST_CHECK(pirn_read(one, &byte, 1, &moved, PIRN_FOREVER) == 0 && moved == 1);
    }
    neighbour_ran = false;
    TEST_CHECK(pirn_spawn(note_a_turn, NULL).id != 0);
    for (int writes = 0; !neighbour_ran; writes++) {
        TEST_CHECK(writes < 1000);
        TEST_CHECK(pirn_write(one, "x", 1, NULL, PIRN_FOREVER) == 0);
    }
    neighbour_ran = false;
    TEST_CHECK(pirn_spawn(note_a_turn, NULL).id != 0);
    for (int waits = 0; !neighbour_ran; waits++) {
        TEST_CHECK(waits < 1000);
        TEST_CHECK(pirn_fd_wait(peer, PIRN_FD_WRITE, PIRN_FOREVER) == PIRN_FD_WRITE);
    }
    close(peer);
    return pirn_close(one);
}

Test(perform, calls_that_never_park_give_a_turn) {
    /* Goal: a loop of reads that always find data, of writes or of waits for a ready descriptor lets others run (rule
     * 9). Method: loop until a neighbour has had its turn; the calls are counted. */
    test_run_everywhere(read_for_ever, NULL);
}

typedef struct big_write {
    pirn_socket socket;
    char *bytes;
    size_t count, moved;
    int peer, error;
    uint64_t wrong;
} big_write;

static int write_big(void *arg) {
    big_write *big = arg;
    big->error = pirn_write(big->socket, big->bytes, big->count, &big->moved, PIRN_FOREVER);
    return 0;
}

static void *compare_big(void *arg) {
    big_write *big = arg;
    static char buffer[1 << 16];
    for (size_t at = 0; at < big->count;) {
        ssize_t got = read(big->peer, buffer, sizeof buffer);
        TEST_CHECK(got > 0);
        for (ssize_t i = 0; i < got; i++, at++) {
            big->wrong += buffer[i] != big->bytes[at];
        }
    }
    return NULL;
}

static int write_in_shares(void *arg) {
    (void)arg;
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    big_write big = {.count = 8 << 20};
    big.bytes = malloc(big.count);
    for (size_t i = 0; i < big.count; i++) {
        big.bytes[i] = (char)(i * 2654435761u >> 13);
    }
    big.socket = adopt_one(&big.peer);
    TEST_CHECK(setsockopt(big.peer, SOL_SOCKET, SO_RCVBUF, &(int){4 << 20}, sizeof(int)) == 0);
    TEST_CHECK(pirn_write(big.socket, big.bytes, big.count, &big.moved, PIRN_NOW) == PIRN_EAGAIN);
    TEST_CHECK(big.moved > 0 && big.moved <= SHARE);
    size_t now = big.moved;
    pirn_tasklet writer = spawn_joinable(write_big, &big, 0);
    uint64_t turns = pn_worker_self()->driver.turn_count;
    pirn_yield();
    turns = (pn_worker_self()->driver.turn_count - turns) / 2;
    int there = 0;
    TEST_CHECK(ioctl(big.peer, FIONREAD, &there) == 0);
    bool performs_here = info.mode == PIRN_MODE_SINGLE || info.poll == PIRN_POLL_WORKER;
    TEST_CHECK(!performs_here || (size_t)there <= now + SHARE * (1 + turns)); /* the writer's slice, and the turns */
    for (size_t at = 0; at < now;) {
        char buffer[4096];
        ssize_t got = read(big.peer, buffer, now - at < sizeof buffer ? now - at : sizeof buffer);
        TEST_CHECK(got > 0 && memcmp(buffer, big.bytes + at, (size_t)got) == 0);
        at += (size_t)got;
    }
    pthread_t reader;
    TEST_CHECK(pthread_create(&reader, NULL, compare_big, &big) == 0);
    TEST_CHECK(pirn_join(writer, NULL, PIRN_FOREVER) == 0);
    pthread_join(reader, NULL);
    TEST_CHECK(big.error == 0 && big.moved == big.count && big.wrong == 0);
    free(big.bytes);
    close(big.peer);
    return pirn_close(big.socket);
}

Test(perform, big_write_moves_a_share_a_turn, .timeout = 120) {
    /* Goal: no record moves more than 256 KiB before others have their turn, and a big write goes on to its end.
     * Method: 8 MiB into a socket with room for more than a share: once with PIRN_NOW, once by a tasklet whose first
     *         slice is looked at from the next one; a plain thread reads and compares every byte. */
    test_run_everywhere(write_in_shares, NULL);
}

static int give_up_big_writes(void *arg) {
    (void)arg;
    static char bytes[4 << 20];
    for (int round = 0; round < 30; round++) {
        int peer;
        size_t moved = 0, got = 0;
        pirn_socket one = adopt_one(&peer);
        pirn_time deadline = pirn_after(round * 20 * PIRN_MICROSECOND);
        int error = pirn_write(one, bytes, sizeof bytes, &moved, deadline);
        TEST_CHECK(error == 0 || error == PIRN_ETIMEDOUT);
        TEST_CHECK((error == 0) == (moved == sizeof bytes));
        TEST_CHECK(pirn_close(one) == 0);
        for (ssize_t count; (count = read(peer, bytes, sizeof bytes)) > 0;) {
            got += (size_t)count;
        }
        TEST_CHECK(got == moved);
        close(peer);
    }
    return 0;
}

Test(perform, big_write_that_gives_up_tells_the_bytes_moved, .timeout = 120) {
    /* Goal: a deadline between two shares takes the record back, and its result tells what went out; a close after it
     *       leaves nothing behind in the performer's list.
     * Method: writes of 4 MiB with growing deadlines that nobody reads; then close, and count on the peer. */
    test_run_everywhere(give_up_big_writes, NULL);
}

static int read_in_shares(void *arg) {
    (void)arg;
    static char bytes[4 << 20];
    int peer;
    pirn_socket one = adopt_one(&peer);
    TEST_CHECK(fcntl(peer, F_SETFL, O_NONBLOCK) == 0);
    size_t sent = 0, got = 0;
    for (ssize_t count; sent < sizeof bytes && (count = write(peer, bytes, sizeof bytes - sent)) > 0;) {
        sent += (size_t)count;
    }
    while (got < sent) {
        size_t moved;
        TEST_CHECK(pirn_read(one, bytes, sizeof bytes, &moved, pirn_after(10 * PIRN_SECOND)) == 0);
        TEST_CHECK(moved > 0 && moved <= SHARE);
        got += moved;
    }
    close(peer);
    return pirn_close(one);
}

Test(perform, big_read_moves_a_share_a_turn) {
    /* Goal: a read gives 256 KiB at most, and what it leaves is not taken for an empty socket (rule 5).
     * Method: fill the socket's buffers, and read with a buffer of 4 MiB until all has come. */
    test_run_everywhere(read_in_shares, NULL);
}
