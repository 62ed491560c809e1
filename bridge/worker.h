/* SPDX-License-Identifier: MIT
 *
 * What: one worker: a scheduler and the driver it sleeps in. The hooks of core (pn_hooks_threads) end here.
 * Threads: sched and driver are the owner's; `port` in the driver is everybody's; load is read by all.
 */
#ifndef PN_WORKER_H
#define PN_WORKER_H

#include <pthread.h>

#include "driver.h"
#include "sched.h"

typedef struct pn_worker {
    pn_sched sched;
    pn_driver driver;
    pthread_t thread;
    bool started;
    bool no_timer;            /* owner: no tasklet's timer ends its sleep                                 */
    pirn_time census_at;      /* owner: when to look for stuck tasklets; PIRN_FOREVER: no need            */
    pirn_time trim_at;        /* owner: when to give stacks' memory back; PIRN_FOREVER: no need           */
    uint64_t census_switches; /* owner: dispatches when it last looked                                   */
    unsigned records, jobs;   /* owner: what is out and will come back here (live.h)                      */
    pn_message report;        /* to the owner: print your part of a deadlock report                       */
    /* owner writes, any thread reads: kept on a line of their own */
    _Alignas(PN_CACHELINE) uint32_t load; /* connections that live here: for "least loaded"             */
    uint32_t waiting;                     /* tasklets that are no daemons, as of its last going idle         */
    uint32_t expecting;                   /* records and jobs, as of then                                    */
    uint32_t has_main;                    /* whether the program's main tasklet lives here, as of then        */
    uint32_t idle;                        /* odd: it sleeps, no_timer; counts both ways                   */
} pn_worker;

extern const pn_hooks pn_hooks_threads;

/* Stacks that were not used for so long are no part of the next burst. Not an option: tests set it before they start a
 * runtime, since a worker that wakes for it would hide a lost wake-up. */
extern int64_t pn_trim_period;

/* On the owner thread. 0 or an error. */
int pn_worker_init(pn_worker *worker, unsigned id);
void pn_worker_fini(pn_worker *worker);
pn_worker *pn_worker_self(void);
/* The worker with the fewest connections; equals take turns. Any thread. */
unsigned pn_worker_least_loaded(void);
void pn_worker_load_add(unsigned home, int delta);

#endif
