/* SPDX-License-Identifier: MIT
 *
 * pirn/runtime.h: start and stop the whole program, in either mode.
 */
#ifndef PIRN_RUNTIME_H
#define PIRN_RUNTIME_H

#include <pirn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pirn_mode {
    PIRN_MODE_THREADED, /* the reactor on its own thread, one scheduler per worker thread (default) */
    PIRN_MODE_SINGLE,   /* one thread runs the tasklets and takes the reactor's turns                */
} pirn_mode;

/* Who performs socket operations. In PIRN_MODE_SINGLE it is always the one worker. */
typedef enum pirn_poll {
    PIRN_POLL_REACTOR, /* the reactor reads and writes; a tasklet wakes with its data (default)      */
    PIRN_POLL_WORKER,  /* each worker has its own readiness set and performs its own                 */
} pirn_poll;

/* How the ground below each stack is guarded. */
typedef enum pirn_guard {
    PIRN_GUARD_AUTO,     /* the best this kernel has                                                 */
    PIRN_GUARD_MADVISE,  /* MADV_GUARD_INSTALL (Linux 6.13): no extra mapping                        */
    PIRN_GUARD_MPROTECT, /* a protected range per stack: about 16,000 stacks on default sysctls      */
    PIRN_GUARD_CANARY,   /* a known word at the bottom, checked at each switch: finds it afterwards  */
} pirn_guard;

typedef int (*pirn_fn)(void *arg); /* a tasklet's body: 0, or a negative PIRN_E... */

/* Told of a tasklet that ended with an error nobody joined for, or a deferred that failed unhandled. Parks: it must
 * not. Thread: the one that noticed it, a worker's. Args: `text` is one line without a newline, borrowed. */
typedef void (*pirn_error_handler)(void *context, int code, const char *text);

typedef struct pirn_options {
    pirn_mode mode;
    pirn_poll poll;
    unsigned workers;         /* 0: one per CPU, less one for the reactor, at least 1; 1 when single; <= 64. CPUs are
                               * those of the affinity mask, or the cgroup's quota rounded up, if that is less */
    unsigned reactors;        /* 1; more than one is PIRN_EINVAL in this version                     */
    unsigned offload_threads; /* threads for blocking calls; 0: 4; <= 64                              */
    unsigned offload_max;     /* jobs that may be queued before PIRN_ELIMIT; 0: 65,536               */
    /* HTTP fetches that move at once, each on one connection, and the connections kept for reuse: in total, 0: 4,096,
     * but at most a quarter of the process' descriptors; to one host and port, 0: 1,024. <= 65,536. More fetches wait
     * for their turn */
    unsigned fetch_connections_max;
    unsigned fetch_connections_per_host_max;
    size_t stack_bytes; /* a tasklet's stack; 0: 65,536; at least 16,384                        */
    pirn_guard guard;
    pirn_time drain_ns;      /* after main returns: how long the rest may go on before it is cancelled; 0: none */
    pirn_time end_ns;        /* after the drain: how long the cancelled rest may take; 0: 5 s (see pirn_run)         */
    pirn_time slice_warn_ns; /* a slice longer than this is reported; 0: 100 ms; PIRN_FOREVER: never */
    /* parked on a pirn object this long without a deadline is reported; 0: 10 s; PIRN_FOREVER: never */
    pirn_time stuck_warn_ns;
    uint64_t seed;               /* of every choice the schedulers make (select among ready cases); 0: 1  */
    pirn_error_handler on_error; /* NULL: the line goes to stderr                                      */
    void *on_error_context;
} pirn_options;

/* Fill in the defaults. Parks: no. Thread: any. */
PIRN_API void pirn_options_init(pirn_options *options);

/* Run `main_fn(arg)` as the first tasklet of worker 0, with everything pirn needs around it, and return when it and all
 * that it started are over. After its return main's clean-ups (pirn_on_exit) run; then the shutdown begins: listeners
 * close, the other tasklets may go on for `drain_ns`, then they are cancelled; then jobs, reactor and workers end. The
 * end comes whatever the program does, by these steps, each of which names on one line the tasklets in the way:
 *   at once          every wait of a cancelled tasklet gives PIRN_ECANCELED; shielded ones go on; all services work;
 *   end_ns / 5       no new tasklets (pirn_spawn gives {0}), requests and jobs (PIRN_ECLOSED; in callbacks NULL);
 *   end_ns           shielded waits end, too, with PIRN_ECANCELED; no new deferreds (NULL);
 *   end_ns * 6 / 5   a tasklet ends where it next waits or yields: its clean-ups run, its stack is not unwound;
 *   end_ns * 6       a tasklet or callback that never waits, yields or returns is named, and the process aborts.
 * A tasklet that asks again and again for what is refused counts as one that waits: from its 33rd such call on.
 * Main's clean-ups have `drain_ns` + `end_ns`, then their waits end in the same way. Parks: it blocks the calling
 * thread. Thread: any that is not pirn's; one call at a time in a process. In single mode the calling thread is the
 * worker. Args: NULL options are the defaults; they are copied. Returns: main's result (when nothing can ever wake
 * main, a report is on stderr and main's wait gets PIRN_EDEADLK, which it may return); PIRN_EINVAL (an option out of
 * range, or no `main_fn`; one line on stderr says which); PIRN_EALREADY (a runtime runs); PIRN_ENOMEM; PIRN_ELIMIT
 * (the system refuses one more thread; one line on stderr names the limits); or the system's code when a descriptor
 * could not be had. Answers to stackless.run() with reactor.run(). reactor_thread/runtime.c, shutdown.c
 *
 * Signals: threads that run tasklets block them, so that no handler runs on a tasklet's stack; so a child process made
 * by fork in a tasklet starts with them blocked. In single mode the watchdog takes those that the calling thread let
 * in (with `slice_warn_ns` PIRN_FOREVER there is none, and the calling thread keeps them). */
PIRN_API int pirn_run(const pirn_options *options, pirn_fn main_fn, void *arg);

typedef struct pirn_runtime_info {
    pirn_mode mode;
    pirn_poll poll;
    unsigned workers;
    char workers_reason[64]; /* why so many: "as asked for", "the cgroup's quota is 1.50 CPUs", ...    */
    pirn_guard guard;        /* the one in force, never AUTO                                             */
    bool guards_exhausted;   /* the budget of mprotect guards is spent: newer stacks have a canary only  */
    size_t stack_bytes;
} pirn_runtime_info;

/* What this runtime is. Parks: no. Thread: any, while it runs. Returns: 0; PIRN_ETHREAD (none runs). */
PIRN_API int pirn_runtime_describe(pirn_runtime_info *info);

#ifdef __cplusplus
}
#endif
#endif
