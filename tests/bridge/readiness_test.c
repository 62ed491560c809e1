/* SPDX-License-Identifier: MIT
 *
 * What: tests of the readiness seam, over whichever backend the program is linked with: they speak of what
 *       bridge/readiness.h promises and not of how. Real sockets and eventfds.
 */
#include "test.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "readiness.h"

static pn_readiness set;
static pn_ready_event events[PN_EVENTS_MAX];
static int pair[2];
static int tag_a, tag_b;

static void setup(void) {
    cr_assert_eq(pn_readiness_init(&set), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void) {
    pn_readiness_fini(&set);
    close(pair[0]);
    close(pair[1]);
}

/* The bits that a look finds for `tag`; 0: no event for it. */
static unsigned bits_now(const void *tag) {
    int count = pn_readiness_wait(&set, events, PIRN_NOW);
    unsigned bits = 0;
    for (int i = 0; i < count; i++) {
        bits |= events[i].tag == tag ? events[i].bits : 0;
    }
    return bits;
}

/* Do as a performer does before it parks: read all there is, then say what it waits for. */
static void read_until_again(int fd) {
    char bytes[512];
    while (read(fd, bytes, sizeof bytes) > 0) {
    }
    cr_assert_eq(errno, EAGAIN);
    pn_readiness_expect(&set, fd, PN_READY_READ);
}

/* Goal: a set with nothing in it has nothing to tell, and a deadline ends the wait, never before it came.
 * Method: look, then wait for 3 ms and compare clocks. */
Test(readiness, empty_set_waits_for_the_deadline, .init = setup, .fini = teardown, .timeout = 20) {
    cr_assert_eq(pn_readiness_wait(&set, events, PIRN_NOW), 0);
    pirn_time deadline = pirn_after(3 * PIRN_MILLISECOND);
    cr_assert_eq(pn_readiness_wait(&set, events, deadline), 0);
    cr_assert_geq(pirn_now(), deadline);
    cr_assert_eq(pn_readiness_wait(&set, events, deadline), 0, "a deadline that has passed is a look");
}

/* Goal: what is ready when a descriptor is added is told.
 * Method: a fresh socket is writable; after its peer wrote, another is readable too. */
Test(readiness, added_descriptor_tells_its_present_state, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    cr_assert_eq(bits_now(&tag_a), PN_READY_WRITE);
    cr_assert_eq(write(pair[0], "x", 1), 1);
    cr_assert_eq(pn_readiness_add(&set, pair[1], &tag_b, false), 0);
    cr_assert_eq(bits_now(&tag_b), PN_READY_READ | PN_READY_WRITE);
}

/* Goal: an idle writable socket keeps nobody awake: what was told is not told again while nothing happens.
 * Method: take the first event, then look many times. */
Test(readiness, told_state_is_not_told_again, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    cr_assert_neq(bits_now(&tag_a), 0);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(pn_readiness_wait(&set, events, PIRN_NOW), 0);
    }
}

/* Goal: unread data keeps nobody awake either, when nobody asked for it.
 * Method: data arrives and is told once; looks that follow are empty until more arrives and somebody expects it. */
Test(readiness, unread_data_is_told_once, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    cr_assert_neq(bits_now(&tag_a), 0);
    pn_readiness_expect(&set, pair[0], PN_READY_READ);
    cr_assert_eq(write(pair[1], "x", 1), 1);
    cr_assert(bits_now(&tag_a) & PN_READY_READ);
    cr_assert_eq(pn_readiness_wait(&set, events, PIRN_NOW), 0);
}

/* Goal: the performer's way never misses data: read until EAGAIN, expect, wait.
 * Method: a hundred rounds of one byte each; every one is told after the last was read. */
Test(readiness, data_after_again_is_told_every_time, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    for (int round = 0; round < 100; round++) {
        (void)bits_now(&tag_a);
        read_until_again(pair[0]);
        cr_assert_eq(write(pair[1], "x", 1), 1);
        cr_assert(bits_now(&tag_a) & PN_READY_READ, "round %d", round);
    }
}

/* Goal: data that arrives between the performer's EAGAIN and its expecting is not lost.
 * Method: write in exactly that gap. */
Test(readiness, data_between_again_and_expect_is_told, .init = setup, .fini = teardown) {
    char byte;
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    (void)bits_now(&tag_a);
    cr_assert_lt(read(pair[0], &byte, 1), 0);
    cr_assert_eq(errno, EAGAIN);
    cr_assert_eq(write(pair[1], "x", 1), 1);
    pn_readiness_expect(&set, pair[0], PN_READY_READ);
    cr_assert(bits_now(&tag_a) & PN_READY_READ);
}

/* Goal: room in a full socket is told to a writer that met EAGAIN.
 * Method: fill it, look (nothing to write), empty it at the other end, look again. */
Test(readiness, room_after_a_full_socket_is_told, .init = setup, .fini = teardown) {
    static char block[65536];
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    (void)bits_now(&tag_a);
    while (write(pair[0], block, sizeof block) > 0) {
    }
    pn_readiness_expect(&set, pair[0], PN_READY_WRITE);
    cr_assert_eq(bits_now(&tag_a) & PN_READY_WRITE, 0);
    while (read(pair[1], block, sizeof block) > 0) {
    }
    cr_assert(bits_now(&tag_a) & PN_READY_WRITE);
}

/* Goal: the end of a stream is news for a reader.
 * Method: the peer closes; a reader that expected data hears READ, and the bit that ends its trust in short reads. */
Test(readiness, closed_peer_is_told_as_readable, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    (void)bits_now(&tag_a);
    read_until_again(pair[0]);
    close(pair[1]);
    unsigned bits = bits_now(&tag_a);
    pair[1] = dup(pair[0]); /* for teardown */
    cr_assert(bits & PN_READY_READ);
    cr_assert(bits & PN_READY_HUP);
    cr_assert_eq(pn_readiness_wait(&set, events, PIRN_NOW), 0, "told once, though a hang-up lasts");
}

/* Goal: a level-triggered descriptor is told as long as it is readable, and only for reading.
 * Method: an eventfd: nothing, then twice the same news, then nothing after it was read. */
Test(readiness, level_descriptor_is_told_until_it_is_read, .init = setup, .fini = teardown) {
    uint64_t one = 1;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    cr_assert_eq(pn_readiness_add(&set, fd, &tag_a, true), 0);
    cr_assert_eq(bits_now(&tag_a), 0);
    cr_assert_eq(write(fd, &one, sizeof one), (ssize_t)sizeof one);
    cr_assert_eq(bits_now(&tag_a), PN_READY_READ);
    cr_assert_eq(bits_now(&tag_a), PN_READY_READ);
    cr_assert_eq(read(fd, &one, sizeof one), (ssize_t)sizeof one);
    cr_assert_eq(bits_now(&tag_a), 0);
    close(fd);
}

/* Goal: each write to a doorbell's eventfd is one event, though no owner ever reads it.
 * Method: three rounds of a write, one event, no second event. */
Test(readiness, bell_tells_each_write_once, .init = setup, .fini = teardown) {
    const uint64_t one = 1;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    cr_assert_eq(pn_readiness_add_bell(&set, fd, &tag_a), 0);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(write(fd, &one, sizeof one), (ssize_t)sizeof one);
        cr_assert_eq(bits_now(&tag_a), PN_READY_READ, "round %d", round);
        cr_assert_eq(bits_now(&tag_a), 0);
    }
    close(fd);
}

/* Goal: a removed descriptor is silent, and can be added again.
 * Method: remove before its data arrives; add again and hear of it. */
Test(readiness, removed_descriptor_is_silent, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    pn_readiness_remove(&set, pair[0]);
    pn_readiness_remove(&set, pair[0]);
    cr_assert_eq(write(pair[1], "x", 1), 1);
    cr_assert_eq(pn_readiness_wait(&set, events, PIRN_NOW), 0);
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_b, false), 0);
    cr_assert(bits_now(&tag_b) & PN_READY_READ);
}

/* Goal: closing is removing, also when the number is used again.
 * Method: close an added socket, open another under its number, add it under another tag: only that tag is told. */
Test(readiness, closed_descriptor_leaves_and_its_number_can_come_back, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_a, false), 0);
    int number = pair[0];
    close(pair[0]);
    cr_assert_eq(pn_readiness_wait(&set, events, PIRN_NOW), 0);
    close(pair[1]);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    cr_assert_eq(pair[0], number);
    cr_assert_eq(pn_readiness_add(&set, pair[0], &tag_b, false), 0);
    cr_assert_eq(pn_readiness_wait(&set, events, PIRN_NOW), 1);
    cr_assert_eq(events[0].tag, (void *)&tag_b);
}

/* Goal: a bad descriptor is the caller's error.
 * Method: -1. */
Test(readiness, bad_descriptor_is_refused, .init = setup, .fini = teardown) {
    cr_assert_eq(pn_readiness_add(&set, -1, &tag_a, false), PIRN_EBADF);
}

/* Goal: more ready descriptors than one look can hold are all told, by the looks that follow.
 * Method: 700 writable descriptors; each tag comes exactly once. */
Test(readiness, more_than_one_look_can_hold_are_all_told, .init = setup, .fini = teardown) {
    enum { MANY = 700 };
    static int fds[MANY], seen[MANY];
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < MANY; i++) {
        fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        cr_assert_geq(fds[i], 0);
        cr_assert_eq(pn_readiness_add(&set, fds[i], &seen[i], false), 0);
    }
    int told = 0;
    for (int look = 0; look < 10 && told < MANY; look++) {
        int count = pn_readiness_wait(&set, events, PIRN_NOW);
        for (int i = 0; i < count; i++) {
            (*(int *)events[i].tag)++;
        }
        told += count;
    }
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(seen[i], 1, "descriptor %d was told %d times", i, seen[i]);
        close(fds[i]);
    }
}
