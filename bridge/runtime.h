/* SPDX-License-Identifier: MIT
 *
 * What: the one running runtime as the bridge sees it: workers, the reactor's driver, options. Filled in by
 *       reactor_thread/runtime.c before the first thread starts, and immutable while they run.
 * Threads: any may read between start and stop.
 */
#ifndef PN_RUNTIME_H
#define PN_RUNTIME_H

#include <pirn/runtime.h>

#include "driver.h"
#include "worker.h"

typedef struct pn_runtime {
    pirn_options options; /* with defaults filled in                                               */
    uint32_t run;         /* its number in this process, from 1                                        */
    unsigned worker_count;
    pn_worker *workers; /* [worker_count]                                                        */
    pn_driver *reactor; /* single mode: worker 0's driver                                        */
} pn_runtime;

extern pn_runtime pn_runtime_current;

/* Post to the reactor's thread: `deliver` runs there, on no tasklet (single mode: worker 0's own context). Any thread.
 * A reactor that sleeps is woken at once. */
void pn_reactor_post(pn_message *message);
/* The start of a runtime: room for the first descriptors, from number `lowest_free` on. 0, or PIRN_ENOMEM after one
 * line (descriptor.c). */
int pn_descriptors_start(int lowest_free);
/* The end of a runtime, its threads gone: close the sockets that the program left open; their handles name nothing from
 * then on (descriptor.c). */
void pn_descriptors_end_all(void);
/* Whether the calling thread is the one that runs the reactor, outside any tasklet. */
bool pn_reactor_is_here(void);

#endif
