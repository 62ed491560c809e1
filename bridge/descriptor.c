/* SPDX-License-Identifier: MIT
 *
 * What: the table and the lives of its entries (see bridge/descriptor.h).
 * Threads: any; the end of a life runs on the performer's thread.
 * Memory: pieces of PIECE_ENTRIES entries. A piece is reserved when the first number in it comes into use, and stays
 *       for the process, so an entry never moves and a stale handle may be looked up at any time. The system gives the
 *       lowest free number, so the pieces follow the numbers in use and RLIMIT_NOFILE bounds them. The piece of
 *       the next number is reserved at the start of a runtime: who cannot have it learns it then, and not at the first
 *       connection.
 * Rejected: one reservation for all numbers: 264 MiB of address space, refused whole below a `ulimit -v`, and in memory
 *       whole after mlockall(2).
 */
#include "descriptor.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "listener.h"
#include "reserve.h"
#include "runtime.h"

#define PIECE_ENTRIES 256u
#define PIECE_BYTES   (PIECE_ENTRIES * sizeof(pn_descriptor))
#define PIECES_MAX    (PN_DESCRIPTORS_MAX / PIECE_ENTRIES)
#define TELL_NS       (60 * PIRN_SECOND) /* between two lines about refused pieces */

#define CLOSING  ((uint64_t)1 << 31)
#define HOLDS(l) ((uint32_t)(l)&0x7fffffffu)
#define LIFE(l)  ((uint32_t)((l) >> 32))

static _Atomic(pn_descriptor *) pieces[PIECES_MAX]; /* any thread; written under grow_lock */
static _Atomic(uint32_t) used_count;                /* any thread: one more than the highest number used in this run */
static pthread_mutex_t grow_lock = PTHREAD_MUTEX_INITIALIZER;
static pirn_time told_at; /* under grow_lock; 0: never */

/* ---- the table ---- */

/* The entry of number `fd`; NULL: its piece was never needed. */
static pn_descriptor *find(uint32_t fd) {
    if (fd >= PN_DESCRIPTORS_MAX) {
        return NULL;
    }
    /* acquire: the piece as its maker left it; pairs with the release in grow. */
    pn_descriptor *piece = atomic_load_explicit(&pieces[fd / PIECE_ENTRIES], memory_order_acquire);
    return piece ? &piece[fd % PIECE_ENTRIES] : NULL;
}

/* grow_lock held. */
static void tell_refused(int error) {
    pirn_time now = pirn_now();
    if (told_at == 0 || now - told_at >= TELL_NS) {
        told_at = now;
        pn_reserve_tell("the table of descriptors cannot grow", PIECE_BYTES, error);
    }
}

static pn_descriptor *grow(uint32_t fd) {
    _Atomic(pn_descriptor *) *place = &pieces[fd / PIECE_ENTRIES];
    PN_ASSERT(pthread_mutex_lock(&grow_lock) == 0);
    pn_descriptor *piece = atomic_load_explicit(place, memory_order_relaxed); /* written under this lock only */
    if (!piece) {
        piece = pn_reserve(PIECE_BYTES, true);
        if (piece) {
            /* release: a whole piece to the acquire in find. */
            atomic_store_explicit(place, piece, memory_order_release);
        } else {
            tell_refused(errno);
        }
    }
    PN_ASSERT(pthread_mutex_unlock(&grow_lock) == 0);
    return piece ? &piece[fd % PIECE_ENTRIES] : NULL;
}

int pn_descriptors_start(int lowest_free) {
    uint32_t fd = (uint32_t)lowest_free;
    told_at = 0;                                                               /* no thread of a runtime lives */
    return fd >= PN_DESCRIPTORS_MAX || find(fd) || grow(fd) ? 0 : PIRN_ENOMEM; /* above it pirn_listen says so */
}

static void reset_slot(pn_slot *slot, int direction) {
    PN_ASSERT(atomic_load_explicit(&slot->word, memory_order_relaxed) == PN_SLOT_IDLE); /* ours alone by now */
    slot->direction = (uint8_t)direction;
    slot->armed = false;
    slot->message.deliver = pn_perform_slot;
}

static void note_use(int fd) {
    uint32_t seen = atomic_load_explicit(&used_count, memory_order_relaxed);
    while (seen <= (uint32_t)fd && !atomic_compare_exchange_weak_explicit(&used_count, &seen, (uint32_t)fd + 1,
                                                                          memory_order_relaxed, memory_order_relaxed)) {
    }
}

int pn_descriptor_open(int fd, pn_driver *performer, bool borrowed, pn_descriptor **descriptor) {
    if ((unsigned)fd >= PN_DESCRIPTORS_MAX) {
        return PIRN_ELIMIT;
    }
    pn_descriptor *d = find((uint32_t)fd);
    if (!d) {
        d = grow((uint32_t)fd);
    }
    if (!d) {
        return PIRN_ENOMEM;
    }
    /* acquire: pairs with the release that ended the life before, in end_life. */
    uint64_t life = atomic_load_explicit(&d->life, memory_order_acquire);
    if ((uint32_t)life != 0) { /* held, or closing and not yet ended */
        PN_ASSERT(borrowed);   /* the kernel gave us a number that we still use */
        return PIRN_EBUSY;
    }
    /* Generations start at 1, so that {0} names no socket. acq_rel: of two borrowers of one number one gets it. */
    uint64_t next = (uint64_t)(LIFE(life) == UINT32_MAX ? 1 : LIFE(life) + 1) << 32 | 1;
    if (!atomic_compare_exchange_strong_explicit(&d->life, &life, next, memory_order_acq_rel, memory_order_relaxed)) {
        return PIRN_EBUSY;
    }
    note_use(fd);
    d->watch.on_event = pn_perform_event;
    d->fd = fd;
    d->performer = performer;
    d->ready = PN_READY_READ | PN_READY_WRITE; /* unknown: the first call tells */
    d->registered = d->closed = d->hung_up = d->stream = d->charged = d->counted = false;
    d->borrowed = borrowed;
    d->again_link = (pn_node){0};
    d->listener = NULL;
    d->peer = (struct sockaddr_in6){0};
    d->close_message.deliver = pn_perform_close;
    reset_slot(&d->slot[PN_IN], PN_IN);
    reset_slot(&d->slot[PN_OUT], PN_OUT);
    *descriptor = d;
    return 0;
}

pirn_socket pn_descriptor_handle(const pn_descriptor *descriptor) {
    uint64_t life = atomic_load_explicit(&descriptor->life, memory_order_relaxed); /* the caller has a hold */
    return (pirn_socket){(uint64_t)LIFE(life) << 32 | (uint32_t)descriptor->fd};
}

static pn_descriptor *entry_of(pirn_socket handle) {
    return handle.id != 0 ? find((uint32_t)handle.id) : NULL;
}

pn_descriptor *pn_descriptor_hold(pirn_socket handle) {
    pn_descriptor *d = entry_of(handle);
    if (!d) {
        return NULL;
    }
    uint64_t life = atomic_load_explicit(&d->life, memory_order_relaxed);
    do {
        if (LIFE(life) != (uint32_t)(handle.id >> 32) || HOLDS(life) == 0 || (life & CLOSING)) {
            return NULL;
        }
        /* acquire: what the opener wrote before it gave the handle away. */
    } while (
        !atomic_compare_exchange_weak_explicit(&d->life, &life, life + 1, memory_order_acquire, memory_order_relaxed));
    return d;
}

/* Performer: nobody holds it any more. Free the entry first, then the number. */
static void end_life(pn_message *message) {
    pn_descriptor *d = PN_CONTAINER_OF(message, pn_descriptor, close_message);
    pn_driver *performer = d->performer;
    struct pirn_listener *listener = d->listener;
    struct sockaddr_in6 peer = d->peer;
    bool counted = d->counted;
    int fd = d->fd;
    if (pn_linked(&d->again_link)) {
        pn_node_unlink(&d->again_link); /* its write was withdrawn */
    }
    if (d->registered) {
        performer->watched--;
        /* close() alone would leave it there while a duplicate or a child of this process has the socket open; and
         * news of it would meet the number's next life, on another thread. */
        pn_readiness_remove(&performer->set, fd);
    }
    if (d->charged) {
        pn_worker_load_add(d->charged_home, -1);
    }
    uint64_t life = atomic_load_explicit(&d->life, memory_order_relaxed);
    /* release: publishes the idle entry to the next pn_descriptor_open of this number. */
    atomic_store_explicit(&d->life, (uint64_t)LIFE(life) << 32, memory_order_release);
    (void)close(fd);
    pn_driver_resume_paused(performer);
    if (listener) {
        pn_listener_connection_closed(listener, counted ? &peer : NULL);
    }
}

void pn_descriptor_end_borrowed(pn_descriptor *d) {
    PN_ASSERT(d->borrowed && !d->registered);
    atomic_store_explicit(&d->slot[PN_IN].word, PN_SLOT_IDLE, memory_order_relaxed); /* published by the next store */
    uint64_t life = atomic_load_explicit(&d->life, memory_order_relaxed);
    /* release: as in end_life. The performer is done with the entry: its answer has arrived. */
    atomic_store_explicit(&d->life, (uint64_t)LIFE(life) << 32, memory_order_release);
}

void pn_descriptor_release(pn_descriptor *d) {
    /* acq_rel: all uses of the entry happen before its last release, and that before the end of its life. */
    uint64_t before = atomic_fetch_sub_explicit(&d->life, 1, memory_order_acq_rel);
    PN_ASSERT(HOLDS(before) > 0);
    if (HOLDS(before) > 1) {
        return;
    }
    /* The count stays 0 with the closing bit set, so nobody takes the entry until end_life has run. */
    if (d->performer == pn_driver_self()) {
        end_life(&d->close_message);
    } else {
        d->close_message.deliver = end_life;
        pn_port_post(&d->performer->port, &d->close_message);
    }
}

void pn_descriptors_end_all(void) {
    uint32_t count = atomic_exchange_explicit(&used_count, 0, memory_order_relaxed); /* alone by now */
    for (uint32_t fd = 0; fd < count; fd++) {
        pn_descriptor *d = find(fd);
        uint64_t life = d ? atomic_load_explicit(&d->life, memory_order_relaxed) : 0;
        if ((uint32_t)life == 0) {
            continue; /* and its slots are idle: who has one holds the entry */
        }
        for (int i = 0; i < 2; i++) {
            atomic_store_explicit(&d->slot[i].word, PN_SLOT_IDLE, memory_order_relaxed);
        }
        atomic_store_explicit(&d->life, (uint64_t)LIFE(life) << 32, memory_order_relaxed);
        if (!d->borrowed) {
            (void)close(d->fd);
        }
        if (d->listener) {
            pn_listener_connection_closed(d->listener, d->counted ? &d->peer : NULL);
        }
    }
}

bool pn_descriptor_begin_close(pirn_socket handle, pn_descriptor **descriptor) {
    pn_descriptor *d = entry_of(handle);
    if (!d) {
        return false;
    }
    uint64_t life = atomic_load_explicit(&d->life, memory_order_relaxed);
    do {
        if (LIFE(life) != (uint32_t)(handle.id >> 32) || HOLDS(life) == 0 || (life & CLOSING)) {
            return false;
        }
        /* acq_rel: the closer's writes before, the opener's writes seen. */
    } while (!atomic_compare_exchange_weak_explicit(&d->life, &life, life | CLOSING, memory_order_acq_rel,
                                                    memory_order_relaxed));
    *descriptor = d;
    return true;
}
