/* SPDX-License-Identifier: MIT
 *
 * pirn/inspect.h: see every worker and tasklet of the running program, and where each waits.
 */
#ifndef PIRN_INSPECT_H
#define PIRN_INSPECT_H

#include <pirn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pirn_worker_info {
    unsigned id;
    unsigned live;      /* tasklets that have not ended                                               */
    unsigned parked;    /* of these, in a wait                                                        */
    unsigned runnable;  /* in the run queue, the running one included                                 */
    unsigned inbox;     /* messages that wait for it; those newer than the look count as one           */
    unsigned deferreds; /* that live here                                                             */
    uint64_t switches;  /* dispatches since start                                                     */
    uint64_t spawned;   /* tasklets since start                                                       */
    unsigned stacks_cached;
    unsigned stacks_in_use;
} pirn_worker_info;

typedef struct pirn_tasklet_info {
    uint64_t id;    /* of the handle                                                               */
    char label[24]; /* as lines on stderr spell it: worker.slot, "0.2"                              */
    unsigned worker;
    bool daemon;
    char name[32];
    char state[12]; /* "running", "runnable", "parked", "new", "ended"                          */
    /* "receive on chat", "read of descriptor 12", "select: receive on chat, send on loom"; "" when not parked */
    char waiting_on[96];
    char spawned_at[64]; /* "server.c:88"                                                           */
    pirn_time since_ns;  /* how long in this state                                                   */
    /* of a request's tasklet, else "" and 0; its `spawned_at` is where its route was made */
    char peer[64];
    pirn_time age_ns; /* since the request was read                                                */
    /* what it waits for, in words: the SQL text, or the URL without user and password; cut. "" when not known */
    char doing[128];
} pirn_tasklet_info;

/* Parked tasklets, all of them, that wait for the same thing: a channel, or deferreds made at one place. Waits of other
 * kinds (reads, joins, sleeps) are one entry a kind. */
typedef struct pirn_wait_info {
    char waiting_on[96];
    uint64_t count;
    pirn_time longest_ns;
} pirn_wait_info;

typedef struct pirn_snapshot {
    unsigned worker_count;
    pirn_worker_info *workers;
    size_t tasklet_count;
    pirn_tasklet_info *tasklets; /* at most tasklets_max of each worker                                 */
    bool truncated;              /* there are more than these                                                      */
    size_t wait_count;
    pirn_wait_info *waits;   /* most first; they count all tasklets. What finds no place among the first 64 is in the
                              entry of its kind                                                           */
    uint64_t failed;         /* errors that nobody handled, since the start                                 */
    uint64_t lines_left_out; /* warnings that were counted and not written, of all workers               */
    uint64_t live, parked, deferreds, records; /* records: operations handed to another thread and not back */
} pirn_snapshot;

/* Look at all workers, each at a moment between two tasklets. Parks: yes: one message goes round all workers, and once
 * begun it is waited for. Thread: a tasklet. Args: at most `tasklets_max` tasklets of each worker. Owns: on 0
 * `*snapshot` is the caller's, for pirn_snapshot_drop. Returns: 0; PIRN_EINVAL (no `snapshot`); PIRN_ENOMEM; the wait's
 * codes, before it begins only: PIRN_EAGAIN always with PIRN_NOW, PIRN_ETIMEDOUT for a deadline that is past.
 * bridge/inspect.c */
PIRN_API int pirn_inspect(size_t tasklets_max, pirn_snapshot **snapshot, pirn_time deadline);

/* Free a snapshot. Parks: no. Thread: any. Args: NULL is allowed. */
PIRN_API void pirn_snapshot_drop(pirn_snapshot *snapshot);

#ifdef __cplusplus
}
#endif
#endif
