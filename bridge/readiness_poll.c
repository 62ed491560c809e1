/* SPDX-License-Identifier: MIT
 *
 * What: the readiness set on poll(2), for systems without epoll (-DPIRN_READINESS=poll). Correct, and linear in the
 *       number of descriptors: the portable twin, not the fast one.
 * Threads: the owner.
 *
 * Edges out of levels: a performer clears `ready`, calls until EAGAIN and then parks its record (pn_readiness_expect).
 *       A direction that poll(2) reports is told once and then not watched any more, or an idle writable socket would
 *       keep the thread awake; `expect` watches it again. What arrives between the performer's EAGAIN and `expect` is
 *       not lost: a level is still there when it is looked at again. So each direction is either watched, or its news
 *       was told and nobody has parked since; in the second case whoever comes next tries the call first.
 * Invariants: (1) slot_of[fd] is the place of fd in `polled` and `slots`, or -1; (2) polled[i].fd is negative (poll
 *       skips it) while none of its directions is watched, nor a hang-up: POLLHUP and POLLERR cannot be masked
 *       otherwise; (3) a descriptor closed without being removed gives POLLNVAL when it is next looked at and leaves
 *       then; one added again under the same number takes the old one's slot. Should somebody else get the number
 *       first, the old tag is told one event for nothing, which is why tags are type-stable.
 * The doorbell is an eventfd, which stays readable after a write: the set reads it and keeps watching.
 */
#include "readiness.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "alloc.h"
#include "deadline.h"

typedef enum kind { EDGE, LEVEL, BELL } kind;

typedef struct slot {
    int fd;
    kind kind;
    bool hangup; /* watched for a hang-up, whatever else it is watched for */
    void *tag;
} slot;

typedef struct table {
    struct pollfd *polled; /* [capacity] */
    slot *slots;           /* [capacity] */
    int *slot_of;          /* [number_count], by descriptor number */
    int count, capacity, number_count;
    int next; /* where the next look begins, so that a long table is told fairly */
} table;

int pn_readiness_init(pn_readiness *set) {
    set->fd = -1;
    set->backend = pn_calloc(1, sizeof(table));
    return set->backend ? 0 : PIRN_ENOMEM;
}

void pn_readiness_fini(pn_readiness *set) {
    table *all = set->backend;
    if (all) {
        pn_free(all->polled);
        pn_free(all->slots);
        pn_free(all->slot_of);
        pn_free(all);
        set->backend = NULL;
    }
}

static int grow_slots(table *all) {
    int capacity = all->capacity ? all->capacity * 2 : 16;
    struct pollfd *polled = pn_realloc(all->polled, (size_t)capacity * sizeof *polled);
    if (!polled) {
        return PIRN_ENOMEM;
    }
    all->polled = polled;
    slot *slots = pn_realloc(all->slots, (size_t)capacity * sizeof *slots);
    if (!slots) {
        return PIRN_ENOMEM;
    }
    all->slots = slots;
    all->capacity = capacity;
    return 0;
}

static int grow_numbers(table *all, int fd) {
    int number_count = all->number_count ? all->number_count : 64;
    while (number_count <= fd) {
        number_count *= 2;
    }
    int *slot_of = pn_realloc(all->slot_of, (size_t)number_count * sizeof *slot_of);
    if (!slot_of) {
        return PIRN_ENOMEM;
    }
    for (int i = all->number_count; i < number_count; i++) {
        slot_of[i] = -1;
    }
    all->slot_of = slot_of;
    all->number_count = number_count;
    return 0;
}

static int find(const table *all, int fd) {
    return fd >= 0 && fd < all->number_count ? all->slot_of[fd] : -1;
}

static void watch(table *all, int i, short events) {
    struct pollfd *polled = &all->polled[i];
    polled->events = events;
    polled->fd = events || all->slots[i].hangup ? all->slots[i].fd : -1;
}

static int add(pn_readiness *set, int fd, void *tag, kind what) {
    table *all = set->backend;
    if (fd < 0) {
        return PIRN_EBADF;
    }
    if (fd >= all->number_count && grow_numbers(all, fd) != 0) {
        return PIRN_ENOMEM;
    }
    int i = all->slot_of[fd];
    if (i < 0) {
        if (all->count == all->capacity && grow_slots(all) != 0) {
            return PIRN_ENOMEM;
        }
        i = all->count++;
        all->slot_of[fd] = i;
    }
    all->slots[i] = (slot){.fd = fd, .kind = what, .tag = tag};
    watch(all, i, what == EDGE ? POLLIN | POLLOUT : POLLIN);
    return 0;
}

int pn_readiness_add(pn_readiness *set, int fd, void *tag, bool level) {
    return add(set, fd, tag, level ? LEVEL : EDGE);
}

int pn_readiness_add_bell(pn_readiness *set, int fd, void *tag) {
    return add(set, fd, tag, BELL);
}

void pn_readiness_expect(pn_readiness *set, int fd, unsigned bits) {
    table *all = set->backend;
    int i = find(all, fd);
    if (i < 0) {
        return;
    }
    short events = all->polled[i].events;
    events |= bits & PN_READY_READ ? POLLIN : 0;
    events |= bits & PN_READY_WRITE ? POLLOUT : 0;
    all->slots[i].hangup = all->slots[i].hangup || (bits & PN_READY_HUP);
    watch(all, i, events);
}

static void take_out(table *all, int i) {
    int last = --all->count;
    all->slot_of[all->slots[i].fd] = -1;
    if (i != last) {
        all->slots[i] = all->slots[last];
        all->polled[i] = all->polled[last];
        all->slot_of[all->slots[i].fd] = i;
    }
}

void pn_readiness_remove(pn_readiness *set, int fd) {
    table *all = set->backend;
    int i = find(all, fd);
    if (i >= 0) {
        take_out(all, i);
    }
}

static int timeout_of(pirn_time deadline) {
    if (deadline == PIRN_FOREVER) {
        return -1;
    }
    int64_t left_ns = deadline == PIRN_NOW ? 0 : pn_time_left(deadline, pirn_now());
    if (left_ns == 0) {
        return 0;
    }
    /* Rounded up: late, never early. */
    int64_t milliseconds = left_ns / PIRN_MILLISECOND + (left_ns % PIRN_MILLISECOND != 0);
    return milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds;
}

static unsigned bits_of(short events) {
    unsigned bits = 0;
    if (events & (POLLIN | POLLHUP | POLLERR)) {
        bits |= PN_READY_READ;
    }
    if (events & (POLLOUT | POLLHUP | POLLERR)) {
        bits |= PN_READY_WRITE;
    }
    if (events & (POLLHUP | POLLERR)) {
        bits |= PN_READY_HUP;
    }
    return bits;
}

/* Make an event of what poll(2) found at slot i, and stop watching what was told. */
static void tell(table *all, int i, pn_ready_event *event) {
    short found = all->polled[i].revents;
    slot *at = &all->slots[i];
    if (at->kind == BELL) {
        uint64_t rings;
        ssize_t length = read(at->fd, &rings, sizeof rings);
        PN_ASSERT(length == (ssize_t)sizeof rings || errno == EAGAIN);
    } else if (at->kind == EDGE) {
        bool hung_up = (found & (POLLHUP | POLLERR)) != 0;
        at->hangup = at->hangup && !hung_up;
        watch(all, i, hung_up ? 0 : (short)(all->polled[i].events & ~found));
    }
    *event = (pn_ready_event){.tag = at->tag, .bits = bits_of(found)};
}

/* Collect at most PN_EVENTS_MAX events, beginning where the last look stopped. */
static int collect(table *all, int found, pn_ready_event *events) {
    int count = 0;
    int i = all->next < all->count ? all->next : 0;
    for (int looked = 0, total = all->count; looked < total && found > 0 && count < PN_EVENTS_MAX; looked++) {
        if (i >= all->count) {
            i = 0;
        }
        short seen = all->polled[i].fd >= 0 ? all->polled[i].revents : 0;
        found -= seen != 0;
        if (seen & POLLNVAL) {
            take_out(all, i); /* The last slot is now here: look at this place again. */
            continue;
        }
        if (seen) {
            tell(all, i, &events[count++]);
        }
        i++;
    }
    all->next = i;
    return count;
}

int pn_readiness_wait(pn_readiness *set, pn_ready_event *events, pirn_time deadline) {
    table *all = set->backend;
    int found = poll(all->polled, (nfds_t)all->count, timeout_of(deadline));
    if (found < 0) {
        PN_ASSERT(errno == EINTR || errno == EAGAIN);
        return 0;
    }
    return collect(all, found, events);
}
