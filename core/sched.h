/* SPDX-License-Identifier: MIT
 *
 * What: one scheduler on one thread: the run queue in Stackless' order, the switch from tasklet to tasklet, the run
 *       loop.
 *
 * Threads: the thread that runs pn_sched_run, the owner. One scheduler per thread, found by pn_sched_self().
 *
 * The ring: the run queue with the running tasklet as its head. A tasklet made ready stands last; one that is
 *       preferred stands first and is switched to. Switches go directly from tasklet to tasklet; the scheduler's own
 *       context (the thread's stack) runs when the queue is empty, and when a look at inbox, timers and I/O is due: so
 *       none of them starves behind busy tasklets.
 * A look is due after PN_DISPATCH_MAX dispatches, or when `hurry` is raised: a ticker raises it every millisecond while
 *       the worker runs (bridge/watchdog.c). So I/O and timers wait for the running slice and a millisecond at most.
 *       A call that can park and did not is charged as a dispatch is (pn_turn), and what the look makes ready stands
 *       - before a tasklet that yields, or whose socket call did not park: it goes last;
 *       - behind a tasklet whose other call did not park (a channel, a join, an await, a cancel): it keeps its place,
 *         as Stackless' order wants it, for PN_KEEP_MAX looks in a row. After these it goes last, too: no tasklet keeps
 *         the others of its worker from running for ever. A call with PIRN_NOW is never charged.
 * Invariants: (1) a RUNNABLE tasklet is in `ready`, all others are not; (2) `current` is RUNNING, NULL on the
 *       scheduler's own context; (3) nothing that runs on the scheduler's own context parks.
 * Rejected: a scheduler context between each two tasklets (twice the switches); reading the clock per dispatch (costs
 *       as much as a yield).
 */
#ifndef PN_SCHED_H
#define PN_SCHED_H

#include "flag.h"
#include "hooks.h"
#include "tasklet.h"
#include "timer.h"

#define PN_DISPATCH_MAX  61 /* Go's number: dispatches between two looks at I/O                   */
#define PN_KEEP_MAX      32 /* looks in a row after which the same tasklet goes on: 1,952 calls, or 32 ms   */
#define PN_SLAB_TASKLETS 256u
#define PN_SLABS_FIRST   16u
#define PN_SLABS_MAX     65536u /* slot numbers are 24 bits                                           */
#define PN_WORKERS_MAX   64u

typedef struct pn_sched_counts {
    unsigned live, parked;
    unsigned unlimited;   /* waits, for as long as only tasklets like, that a report may come to name */
    unsigned holds_drain; /* live ones that are not daemons                                             */
    unsigned daemons_at_work;
    unsigned deferreds;
    uint64_t switches, spawned, failed;
} pn_sched_counts;

typedef struct pn_sched_options {
    unsigned id;
    uint32_t run; /* of the runtime: never 0, another one for the next                                     */
    size_t stack_bytes;
    uint64_t seed;
    pirn_error_handler on_error;
    void *on_error_context;
} pn_sched_options;

struct pn_sched {
    /* owner only */
    pn_tasklet *current;
    bool in_callback; /* a deferred's callback borrows the stack of `current`: no tasklet for pn_current() */
    unsigned budget;  /* dispatches until the next look at I/O                                  */
    pn_flag hurry;    /* any thread raises it: look at the next dispatch                        */
    bool stop;        /* leave the run loop when nothing is runnable                            */
    pn_list ready;
    pn_tasklet *giving_way; /* last in `ready`: what the look makes ready goes before it; NULL: none */
    unsigned kept;          /* looks in a row after which the same tasklet went on                   */
    uint64_t kept_switches; /* dispatches as of the last of them                                     */
    pn_context context;     /* the thread's own                                                       */
    pn_tasklet *departed;   /* ended; its stack is given back by the next one that runs                   */
    pn_timers timers;
    pirn_time clock; /* sampled once a turn of the loop                                        */
    pn_stack_cache stacks;
    pn_list all;        /* live tasklets, oldest first                                            */
    pn_list free;       /* of records                                                             */
    pn_tasklet **slabs; /* [slab_room], of records                                                */
    unsigned slab_count, slab_room;
    pn_sched_counts counts;
    pn_sched_options options;
    uint64_t random_state;
    pn_tasklet *main;    /* worker 0: the runtime's first tasklet, while it lives                  */
    pn_stage stage;      /* of all tasklets but main                                              */
    pn_stage main_stage; /* worker 0: of main, while its clean-ups run                            */
    bool refusal_told;   /* that something was refused: once                                      */
    void *below;         /* the bridge's worker                                                    */
};

/* The calling thread's scheduler, NULL on other threads. */
pn_sched *pn_sched_self(void);
/* The running tasklet, NULL outside of one and in a callback that borrows its stack: nothing there may wait or
 * switch. */
pn_tasklet *pn_current(void);

/* User functions that must not wait (callbacks of deferreds, cancellers, error handlers, destructors of values) run
 * between these two as if on the scheduler's own stack, on whatever stack they are: pn_current() is NULL there, so that
 * a wait gives PIRN_ETHREAD and a switch is impossible. enter returns what leave wants: they nest. No-ops on a thread
 * without a scheduler. */
bool pn_callback_enter(void);
void pn_callback_leave(bool outer);

int pn_sched_init(pn_sched *sched, const pn_sched_options *options); /* on the owner thread; 0 or PIRN_ENOMEM */
void pn_sched_fini(pn_sched *sched);                                 /* all tasklets must have ended            */

/* Run tasklets until `stop` is set and none is left. Owner. */
void pn_sched_run(pn_sched *sched);

/* Owner: append a parked, struck or new tasklet to the run queue. */
void pn_ready(pn_tasklet *tasklet);
/* Any thread: the same, by message when the home is another thread. The caller won the claim of its wait. */
void pn_ready_anywhere(pn_tasklet *tasklet);

/* In a tasklet: give up the processor until somebody readies it. The caller set state PARKED and its waiter. */
void pn_park(void);
/* At the end of a public call that could have parked and did not, with a deadline other than PIRN_NOW: charge it, and
 * look at inbox, timers and I/O when that is due. Nothing the caller relies on may be half done: messages are delivered
 * and, unless it keeps its place, other tasklets run. Outside of a tasklet: nothing. */
typedef enum pn_place { PN_GIVES_WAY, PN_KEEPS_PLACE } pn_place;
void pn_turn(pn_place place);
/* A call that could have parked ends with `error` before it has begun anything: it is charged like the others, or a
 * loop of such calls would keep its worker. Returns `error`. */
static inline int pn_refused(int error, pirn_time deadline) {
    if (deadline != PIRN_NOW) {
        pn_turn(PN_KEEPS_PLACE);
    }
    return error;
}
/* The end of a tasklet's life, after pn_tasklet_end: leave its stack for good. */
_Noreturn void pn_sched_depart(pn_sched *sched, pn_tasklet *tasklet);
/* In a tasklet: run `next` (taken out of the queue or parked) now; the caller goes first or last in the queue. */
void pn_switch_to(pn_tasklet *next, bool caller_first);

/* The next number of the seeded generator (xorshift64*). */
uint64_t pn_random(pn_sched *sched);

/* Owner: one line about the first thing that the runtime's end refuses here. `file` may be NULL. */
void pn_sched_tell_refusal(pn_sched *sched, const char *what, const char *file, int line);

/* Report a tasklet's or a deferred's unhandled error: to the handler of `sched` (NULL: stderr), and count it. */
void pn_report_error(pn_sched *sched, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* For core alone: report what is parked on this scheduler, which is all there is. `older_than` 0: a total deadlock;
 * else those that are stuck (core/report.h), each wait once. Returns how many those are; `quiet` prints and marks
 * nothing. */
unsigned pn_report_parked(pn_sched *sched, pirn_time older_than, bool quiet);

/* For tests without a bridge: run main_fn as tasklet 1 of a scheduler on this thread with `hooks`, to its end and the
 * end of all it started; what is parked for ever then is reported and cancelled. Returns main's result or
 * PIRN_EDEADLK. */
int pn_alone_run(pirn_fn main_fn, void *arg);

#endif
