/* SPDX-License-Identifier: MIT
 *
 * What: the readiness set on Linux: one epoll descriptor, everything but libuv's descriptor edge-triggered and
 *       registered once.
 * Threads: the owner.
 * Invariants: (1) a registration is never changed; (2) an event is only news that something may have changed: who gets
 *       it tries the call, so one event too many costs a call and never an error; (3) each write to the doorbell's
 *       eventfd is an edge, though nobody reads it.
 * Precision: epoll_pwait2 takes nanoseconds. Where the kernel lacks it (before 5.11, or a filter that refuses it) the
 *       wait is rounded up to milliseconds: timers may be late then, never early.
 */
#include "readiness.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "deadline.h"

#define NANOSECONDS 1000000000

/* Whether the kernel was found to lack epoll_pwait2. Any thread, relaxed: every thread that misses the news finds out
 * itself. */
static atomic_bool coarse;

int pn_readiness_init(pn_readiness *set) {
    set->backend = NULL;
    set->fd = epoll_create1(EPOLL_CLOEXEC);
    return set->fd < 0 ? -errno : 0;
}

void pn_readiness_fini(pn_readiness *set) {
    if (set->fd >= 0) {
        close(set->fd);
        set->fd = -1;
    }
}

static int add(pn_readiness *set, int fd, void *tag, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = tag};
    return epoll_ctl(set->fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int pn_readiness_add(pn_readiness *set, int fd, void *tag, bool level) {
    return add(set, fd, tag, level ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET);
}

int pn_readiness_add_bell(pn_readiness *set, int fd, void *tag) {
    return add(set, fd, tag, EPOLLIN | EPOLLET);
}

void pn_readiness_expect(pn_readiness *set, int fd, unsigned bits) {
    (void)set, (void)fd, (void)bits;
}

void pn_readiness_remove(pn_readiness *set, int fd) {
    /* An error says that it is not there any more, which is what was wanted. */
    (void)epoll_ctl(set->fd, EPOLL_CTL_DEL, fd, NULL);
}

static int wait_coarsely(pn_readiness *set, struct epoll_event *events, int64_t left_ns) {
    int64_t milliseconds = left_ns / PIRN_MILLISECOND + (left_ns % PIRN_MILLISECOND != 0);
    return epoll_wait(set->fd, events, PN_EVENTS_MAX, milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds);
}

static int wait_finely(pn_readiness *set, struct epoll_event *events, int64_t left_ns) {
    if (!atomic_load_explicit(&coarse, memory_order_relaxed)) {
        struct timespec left = {.tv_sec = left_ns / NANOSECONDS, .tv_nsec = left_ns % NANOSECONDS};
        int count = epoll_pwait2(set->fd, events, PN_EVENTS_MAX, &left, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return count;
        }
        atomic_store_explicit(&coarse, true, memory_order_relaxed);
    }
    return wait_coarsely(set, events, left_ns);
}

static int wait_until(pn_readiness *set, struct epoll_event *events, pirn_time deadline) {
    if (deadline == PIRN_FOREVER) {
        return epoll_wait(set->fd, events, PN_EVENTS_MAX, -1);
    }
    int64_t left_ns = deadline == PIRN_NOW ? 0 : pn_time_left(deadline, pirn_now());
    if (left_ns == 0) {
        return epoll_wait(set->fd, events, PN_EVENTS_MAX, 0);
    }
    return wait_finely(set, events, left_ns);
}

static unsigned bits_of(uint32_t events) {
    unsigned bits = 0;
    if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        bits |= PN_READY_READ;
    }
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        bits |= PN_READY_WRITE;
    }
    /* Urgent data, too, ends the trust in short reads. */
    if (events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        bits |= PN_READY_HUP;
    }
    return bits;
}

int pn_readiness_wait(pn_readiness *set, pn_ready_event *events, pirn_time deadline) {
    struct epoll_event raw[PN_EVENTS_MAX];
    int count = wait_until(set, raw, deadline);
    if (count < 0) {
        PN_ASSERT(errno == EINTR);
        return 0;
    }
    for (int i = 0; i < count; i++) {
        events[i] = (pn_ready_event){.tag = raw[i].data.ptr, .bits = bits_of(raw[i].events)};
    }
    return count;
}
