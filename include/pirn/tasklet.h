/* SPDX-License-Identifier: MIT
 *
 * pirn/tasklet.h: start, name, join, cancel. A tasklet is a function with a stack of its own that runs on one worker,
 * its home, and gives the worker to others only where it parks or yields: between two such points tasklets of one home
 * may share plain data without locks.
 *
 * In C++ a tasklet may wait inside `catch`, and in destructors while an exception is under way: each tasklet keeps its
 * own exceptions. An exception must be caught in the function that pirn called: out of a tasklet's function it ends the
 * program (std::terminate), and out of a callback or destructor it would skip pirn's own frames. Load plug-ins that
 * bring the program's first C++ runtime before pirn_run().
 */
#ifndef PIRN_TASKLET_H
#define PIRN_TASKLET_H

#include <pirn/base.h>
#include <pirn/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A tasklet's handle: a value, safe to copy and to keep after the tasklet and its runtime ended (calls then give
 * PIRN_EDEAD, in a later runtime too).
 * id 0 names none. */
typedef struct pirn_tasklet {
    uint64_t id;
} pirn_tasklet;

/* ---- start: core/tasklet_calls.c, tasklet.c; at another worker: remote.c ---- */

enum pirn_spawn_flags {
    PIRN_JOINABLE = 1,  /* kept after its end until joined or released                               */
    PIRN_ANYWHERE = 2,  /* may start on any worker. In this version it starts where it was spawned    */
    PIRN_DAEMON = 4,    /* waits for ever by design: never in a stuck or deadlock report, and does not hold a drain */
    PIRN_FLOAT_ENV = 8, /* keep this tasklet's rounding mode and exception masks across switches      */
};

typedef struct pirn_spawn_options {
    const char *name;   /* copied, cut at 31 bytes; NULL: the function's name                         */
    size_t stack_bytes; /* 0: the runtime's                                                           */
    unsigned flags;     /* enum pirn_spawn_flags                                                      */
    /* a worker's number; -1: the spawner's. Zeroed options mean worker 0: use pirn_spawn_options_init */
    int home;
} pirn_spawn_options;

/* Fill in the defaults: no name, the runtime's stack, no flags, home -1. Parks: no. Thread: any. */
PIRN_API void pirn_spawn_options_init(pirn_spawn_options *options);

/* Start a detached tasklet at the caller's worker; it stands last in the run queue. Parks: no. Thread: a worker's, also
 * in a callback. Owns: `arg` passes to `fn` as it is, and is the caller's when there is no handle. Returns: the handle;
 * {0} when there is no memory, no `fn`, or no worker here (a line on stderr says which call to use). Its stack is taken
 * at its first turn: without memory for one it ends there with PIRN_ENOMEM and `fn` never runs, which a join gives, or
 * a report tells. Answers to stackless.tasklet(f)(arg). */
PIRN_API pirn_tasklet pirn_spawn_at(pirn_fn fn, void *arg, const char *function, const char *file, int line);
#define pirn_spawn(fn, arg) pirn_spawn_at((fn), (arg), #fn, __FILE__, __LINE__)

/* The same, with options. Parks: only with another worker as home, until that worker has made it, for its handle names
 * a slot there; ignores cancellation. Thread: a worker's; with another worker as home, a tasklet. Args: `stack_bytes`
 * 16,384 to 64 MiB; `options` are copied. Returns: as pirn_spawn; {0} also for options out of range, NULL ones, and
 * another home in a callback (a line is on stderr). */
PIRN_API pirn_tasklet pirn_spawn_with_at(const pirn_spawn_options *options, pirn_fn fn, void *arg, const char *function,
                                         const char *file, int line);
#define pirn_spawn_with(options, fn, arg) pirn_spawn_with_at((options), (fn), (arg), #fn, __FILE__, __LINE__)

/* The calling tasklet. Parks: no. Thread: any. Returns: {0} outside of one and in a callback. Answers to
 * stackless.getcurrent(). */
PIRN_API pirn_tasklet pirn_self(void);

/* The caller's worker number. Parks: no. Thread: any. Returns: -1 on a thread that is no worker's. */
PIRN_API int pirn_worker(void);

/* ---- wait: core/sched.c, tasklet_calls.c, remote.c ---- */

/* Go to the end of the run queue and let the others run. Parks: no, but others run; it does not notice cancellation.
 * Thread: any; a no-op outside a tasklet. Answers to stackless.schedule(). */
PIRN_API void pirn_yield(void);

/* Sleep until `deadline`. Parks: yes; PIRN_NOW does not, and is no error. Thread: a tasklet. Returns: 0 when it came;
 * PIRN_ECANCELED or the thrown code, PIRN_EDEADLK, PIRN_ETHREAD as the wait's codes. */
PIRN_API int pirn_sleep_until(pirn_time deadline);

/* Wait for a joinable tasklet to end, take its result and forget it. Parks: yes. Thread: a tasklet on any worker; with
 * PIRN_NOW also a callback on a worker. Args: `result` may be NULL. Owns: on any return but 0 it stays joinable.
 * Returns: 0; PIRN_EDEAD (it was joined or released, or was never joinable, and is gone); PIRN_EBUSY (somebody else
 * waits for it); PIRN_EINVAL (the caller itself, or not joinable); PIRN_EDEADLK (it waits, through joins on this
 * worker, for the caller); PIRN_ENOMEM (of another worker); the wait's codes (of another worker PIRN_NOW always gives
 * PIRN_EAGAIN). */
PIRN_API int pirn_join(pirn_tasklet tasklet, int *result, pirn_time deadline);

/* Give up the right to join: the tasklet becomes detached, or is forgotten when it has ended. Parks: no. Thread: a
 * worker's. Returns: 0; PIRN_EDEAD (it is gone) and PIRN_EBUSY (somebody waits for it), both on its own worker only:
 * elsewhere this is a message, and 0; PIRN_ENOMEM (for that message); PIRN_ETHREAD (no worker here; a line is on
 * stderr). */
PIRN_API int pirn_release(pirn_tasklet tasklet);

/* ---- cancel and throw: core/tasklet.c, wait.c ---- */

/* Cancel: from now on every parking call of that tasklet returns PIRN_ECANCELED, the present one included; one that had
 * not started never runs. On the caller's worker it runs at once and this call returns when it parks, yields or ends
 * (in a callback it is only made ready; on another worker it runs at that worker's next turn). Cancelling twice is
 * harmless; cancelling oneself takes effect at one's next parking call. Parks: no (but others run). Thread: a worker's.
 * Returns: 0; PIRN_EDEAD (it has ended; on its own worker only: elsewhere this is a message, and 0); PIRN_ENOMEM (for
 * that message); PIRN_ETHREAD (no worker here; a line is on stderr). Answers to tasklet.kill(). */
PIRN_API int pirn_cancel(pirn_tasklet tasklet);

/* The same, but the target is only made ready, in its place at the end of the queue. Parks: no. Thread: a worker's.
 * Returns: as pirn_cancel. Answers to kill(pending=True). */
PIRN_API int pirn_cancel_pending(pirn_tasklet tasklet);

/* Strike once: the present parking call of that tasklet, or its next, returns `code`. It may wait again. A tasklet that
 * has not started ends with `code` without running. Parks: no (but others run). Thread: a worker's. Args: `code` is
 * negative; with `pending` as pirn_cancel_pending, without it as pirn_cancel. Returns: as pirn_cancel; PIRN_EINVAL
 * (`code` is not negative). Answers to tasklet.throw(). */
PIRN_API int pirn_throw(pirn_tasklet tasklet, int code, bool pending);

/* ---- the calling tasklet: core/tasklet_calls.c ---- */

/* Whether the calling tasklet was cancelled, shielded or not. Parks: no. Thread: any. Returns: false outside a
 * tasklet. */
PIRN_API bool pirn_cancelled(void);

/* Between these two the calling tasklet's waits ignore cancellation and throws, which stay pending: for clean-up code
 * that must park. They nest; a leave too many ends the program with a line. Parks: no. Thread: any; no-ops outside a
 * tasklet. */
PIRN_API void pirn_shield_enter(void);
PIRN_API void pirn_shield_leave(void);

/* Run `fn(arg)` when the calling tasklet ends, however it ends; last registered runs first, on the tasklet's own stack,
 * shielded. Those of main run before the runtime begins to end. Parks: no; `fn` may. Thread: a tasklet. Owns: `arg`
 * passes to `fn` as it is, on 0. Returns: 0; PIRN_ENOMEM;
 * PIRN_EINVAL (no `fn`); PIRN_ETHREAD (no tasklet runs here). */
PIRN_API int pirn_on_exit(void (*fn)(void *arg), void *arg);

/* Rename the calling tasklet. Parks: no. Thread: any; a no-op outside a tasklet. Args: copied, cut at 31 bytes; NULL
 * changes nothing. */
PIRN_API void pirn_set_name(const char *name);

/* The name of the calling tasklet, its function's when it has none, "tasklet" when that is not known. Parks: no.
 * Thread: any. Owns: borrowed, valid until the tasklet's end; a new name takes its place. Returns: outside a tasklet
 * the thread's role, as "the reactor thread". */
PIRN_API const char *pirn_name(void);

/* One slot for the user, inherited by nobody. Parks: no. Thread: any. Returns: NULL outside a tasklet, where setting is
 * a no-op. */
PIRN_API void pirn_set_local(void *value);
PIRN_API void *pirn_local(void);

/* Say why the calling tasklet fails: `return pirn_fail(PIRN_EDB, "row %d has no name", i);` The failure is kept with
 * the tasklet, and told when that ends with an error that nobody joins for. Parks: no. Thread: any; outside a tasklet
 * it says nothing. Args: as pirn_failure_make. Returns: `code`. */
#define pirn_fail(code, ...) pirn_fail_at(__FILE__, __LINE__, __func__, (code), __VA_ARGS__)
PIRN_API int pirn_fail_at(const char *file, int line, const char *function, int code, const char *format, ...)
    PIRN_PRINTF(5, 6);

#ifdef __cplusplus
}
#endif
#endif
