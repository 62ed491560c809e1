/* SPDX-License-Identifier: MIT
 *
 * What: what drives one thread's events: its port, its readiness set and, on the reactor's thread, libuv beside them.
 *       Workers and the reactor take the same turn.
 * A turn: deliver some of the inbox; when asked to sleep, and nothing is left to do: announce it, look again, sleep in
 *       the set until the next deadline; take the events; perform the records they make possible; go on with those that
 *       moved their share in an earlier turn and can move more; let libuv run when its descriptor is ready or its timer
 *       due. The reactor hands completions back in batches, one push and at most one ring per worker; a worker hands
 *       each back at once, for the callbacks that it delivers are user code.
 * Threads: the owner; pn_port_post(&driver->port, ...) from any.
 */
#ifndef PN_DRIVER_H
#define PN_DRIVER_H

#include <pthread.h>

#include "port.h"
#include "readiness.h"
#include "sched.h"

/* An event loop that lives on the driver's thread, inside our set (libuv: reactor_thread/loop.c). */
typedef struct pn_companion {
    int fd;                               /* level-triggered in our set                                  */
    int64_t (*timeout_ns)(void *context); /* until it wants to run: 0 now, -1 no timer                    */
    void (*run)(void *context);           /* one turn without waiting                                    */
    void *context;
} pn_companion;

/* What an event in the set calls: the first member of everything that is watched. */
typedef struct pn_watch {
    void (*on_event)(struct pn_watch *watch, unsigned bits); /* driver's thread, no tasklet running       */
} pn_watch;

typedef struct pn_batch {
    pn_message *first, *last;
} pn_batch;

/* Messages that one drain of the inbox delivers at most; timers, I/O and tasklets go on before the next. */
#define PN_DRAIN_MAX 256
/* Completions wait for no more bytes than these to be moved for others. */
#define PN_UNFLUSHED_BYTES_MAX ((size_t)1 << 20)

typedef struct pn_driver pn_driver;
struct pn_driver {
    pn_port port;
    pthread_t thread; /* immutable: the owner, for the watchdog                        */
    int thread_id;    /* immutable: the kernel's number for it                         */
    pn_readiness set;
    pn_watch bell_watch;
    pn_watch companion_watch;
    pn_companion *companion;
    bool companion_ready;
    bool sockets;     /* performs socket records                                       */
    unsigned watched; /* descriptors in the set besides bell and companion             */
    void (*on_sleep)(pn_driver *driver, bool asleep); /* around each sleep; NULL: nobody asks      */
    uint64_t turn_count;          /* for the watchdog                                              */
    pn_batch out[PN_WORKERS_MAX]; /* completions of this turn, by home                             */
    uint64_t out_mask;            /* homes with a batch                                            */
    pn_list again;                /* descriptors whose record moved its share and can go on          */
    size_t moved;                 /* bytes since completions were handed back                        */
    pn_list paused;               /* listeners out of descriptors                                   */
    pirn_time resume_at;          /* when to try them again; PIRN_FOREVER: none                     */
};

int pn_driver_init(pn_driver *driver, bool sockets);
void pn_driver_fini(pn_driver *driver);
int pn_driver_set_companion(pn_driver *driver, pn_companion *companion);
/* One turn; sleeps until `deadline` when there is nothing to do and it is not PIRN_NOW. */
void pn_driver_turn(pn_driver *driver, pirn_time deadline);
/* Driver's thread: hand `message` to worker `home`: at once when the driver is a worker's, else with a batch of this
 * turn. */
void pn_driver_hand_back(pn_driver *driver, unsigned home, pn_message *message);
/* Driver's thread: let paused listeners try again in the next turn (a descriptor became free). */
void pn_driver_resume_paused(pn_driver *driver);
/* The calling thread's driver, NULL on others. */
pn_driver *pn_driver_self(void);

#endif
