/* SPDX-License-Identifier: MIT
 *
 * What: one scenario, run again and again, each time with another call failing, until a run meets no failing call.
 * Threads: the test's main thread; fault_expect and what a scenario's body does: tasklets.
 * Invariants: after each run the process holds as many blocks, descriptors and threads as before it, and pirn_run gave
 *             a code that the fault explains. A run that takes too long ends the test with the number of the call.
 * Where there are more calls than runs, every k-th fails, from one on that differs from day to day. To find what hides
 * in between: PIRN_FAULT_WHOLE=1 lets every call fail, PIRN_FAULT_LOUD=1 shows each run and what it says.
 */
#ifndef PIRN_CAMPAIGN_H
#define PIRN_CAMPAIGN_H

#include <pirn.h>

#include "fault.h"
#include "modes.h"

/* How long a wait of a scenario may last: it ends before that, or a wake-up was lost. */
#define FAULT_PATIENCE pirn_after(20 * PIRN_SECOND)

typedef struct fault_scenario {
    const char *name;
    pirn_fn body;          /* main; what it returns is judged like the codes of fault_expect               */
    bool from_the_start;   /* calls are counted from pirn_run on, not from main's first line on            */
    void (*prepare)(void); /* before each run; NULL: nothing                                               */
    unsigned runs;         /* for each mode, kind and number of failing calls in a row; 0: 48              */
} fault_scenario;

void fault_campaign(const fault_scenario *scenario);

/* In a scenario: `code` must be 0, one that a fault explains, or `also`. Returns whether it was 0. */
#define fault_expect(code, also) fault_expect_at(__FILE__, __LINE__, #code, (code), (also))
bool fault_expect_at(const char *file, int line, const char *text, int code, int also);

/* In a scenario: the last worker, which may be the only one. */
int fault_far(void);
pirn_tasklet fault_spawn(pirn_fn fn, void *arg, int home, unsigned flags);

/* A joinable tasklet that has begun, so what it is to do will be done: a spawned one that gets no stack at its first
 * turn ends with PIRN_ENOMEM instead. `task` lives until fault_end, which gives its result. False: it never ran. */
typedef struct fault_task {
    pirn_fn fn;
    void *arg;
    _Atomic bool begun;
    pirn_tasklet handle; /* id 0: it has ended with `result` */
    int result;
} fault_task;
bool fault_begin(fault_task *task, pirn_fn fn, void *arg, int home);
int fault_end(fault_task *task);

/* While system calls fail: tasklets that wait at `gate`, on this worker, until one gets no stack. How many they are.
 * Then, when calls work again: their end. */
unsigned fault_take_stacks(pirn_channel *gate);
void fault_give_stacks(pirn_channel *gate, unsigned count);

/* What this run reported so far: tasklets and deferreds that failed and nobody asked. */
unsigned fault_reports(void);

/* A join that finds no memory is tried again: the faults of a run come to an end. Returns the tasklet's result. */
int fault_join(pirn_tasklet task);

#endif
