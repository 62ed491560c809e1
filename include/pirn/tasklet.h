/* SPDX-License-Identifier: MIT
 *
 * pirn/tasklet.h: start, name, join, cancel. A tasklet is a function with a stack of its own that runs on one worker,
 * its home, and gives the worker to others only where it parks or yields: between two such points tasklets of one home
 * may share plain data without locks.
 */
#ifndef PIRN_TASKLET_H
#define PIRN_TASKLET_H

#include <pirn/base.h>
#include <pirn/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A tasklet's handle: a value, safe to copy and to keep after the tasklet ended (calls then give PIRN_EDEAD).
 * id 0 names none. */
typedef struct pirn_tasklet {
    uint64_t id;
} pirn_tasklet;

enum pirn_spawn_flags {
    PIRN_JOINABLE = 1,  /* kept after its end until joined or released                               */
    PIRN_ANYWHERE = 2,  /* may start on any worker. In this version it starts where it was spawned    */
    PIRN_DAEMON = 4,    /* waits for ever by design: never in a stuck or deadlock report, and does not hold a drain */
    PIRN_FLOAT_ENV = 8, /* keep this tasklet's rounding mode and exception masks across switches      */
};

typedef struct pirn_spawn_options {
    const char *name;   /* copied, cut at 31 bytes; NULL: the function's address                      */
    size_t stack_bytes; /* 0: the runtime's                                                           */
    unsigned flags;     /* enum pirn_spawn_flags                                                      */
    /* a worker's number; -1: the spawner's. Zeroed options mean worker 0: use pirn_spawn_options_init */
    int home;
} pirn_spawn_options;

/* Fill in the defaults: no name, the runtime's stack, no flags, home -1. */
PIRN_API void pirn_spawn_options_init(pirn_spawn_options *options);

/* Start a detached tasklet at the caller's worker; it stands last in the run queue.
 * Parks: never. Thread: a worker's. Owns: `arg` passes to `fn`. Returns: the handle, {0} when there is no memory or the
 * caller is no tasklet (a line on stderr says which call to use). Its stack is taken at its first turn: without memory
 * for one it ends there with PIRN_ENOMEM and `fn` never runs, which a join gives, or a report tells.
 * Answers to stackless.tasklet(f)(arg). */
PIRN_API pirn_tasklet pirn_spawn_at(pirn_fn fn, void *arg, const char *file, int line);
#define pirn_spawn(fn, arg) pirn_spawn_at((fn), (arg), __FILE__, __LINE__)

/* The same, with options; {0} also for options out of range. Parks: only with another worker as home, until that worker
 * has made it (from a callback: {0}). */
PIRN_API pirn_tasklet pirn_spawn_with_at(const pirn_spawn_options *options, pirn_fn fn, void *arg, const char *file,
                                         int line);
#define pirn_spawn_with(options, fn, arg) pirn_spawn_with_at((options), (fn), (arg), __FILE__, __LINE__)

/* The calling tasklet; {0} outside of one. Never parks. Answers to stackless.getcurrent(). */
PIRN_API pirn_tasklet pirn_self(void);

/* The caller's worker number, or -1 on any other thread. Never parks. */
PIRN_API int pirn_worker(void);

/* Go to the end of the run queue and let the others run. Does not notice cancellation. A no-op outside a tasklet.
 * Answers to stackless.schedule(). */
PIRN_API void pirn_yield(void);

/* Park until `deadline`. Returns 0 when it came; PIRN_ECANCELED; PIRN_EDEADLK (FOREVER and nothing else can run);
 * PIRN_ETHREAD outside a tasklet. */
PIRN_API int pirn_sleep_until(pirn_time deadline);

/* Wait for a joinable tasklet to end, take its result and forget it.
 * Parks: yes. Thread: a tasklet on any worker. Args: `result` may be NULL. Returns: 0; PIRN_EDEAD when the handle's
 * tasklet was joined, released or never joinable and is gone; PIRN_EBUSY when somebody else already waits for it;
 * PIRN_EINVAL for the caller itself or a tasklet that is not joinable; PIRN_EAGAIN, PIRN_ETIMEDOUT, PIRN_ECANCELED,
 * PIRN_EDEADLK: it stays joinable; PIRN_ETHREAD; PIRN_ENOMEM (joining on another worker). */
PIRN_API int pirn_join(pirn_tasklet tasklet, int *result, pirn_time deadline);

/* Give up the right to join: the tasklet becomes detached, or is forgotten when it has ended. Never parks.
 * Returns 0, PIRN_EDEAD, PIRN_ETHREAD, PIRN_ENOMEM. */
PIRN_API int pirn_release(pirn_tasklet tasklet);

/* Cancel: from now on every parking call of that tasklet returns PIRN_ECANCELED, the present one included; one that had
 * not started never runs. On the caller's worker it runs at once and this call returns when it parks, yields or ends;
 * on another worker at that worker's next turn. Cancelling twice is harmless; cancelling oneself takes effect at one's
 * next parking call. Parks: no (but others run). Thread: a worker's. Returns: 0, PIRN_EDEAD (own worker only: elsewhere
 * it is a message and 0), PIRN_ETHREAD, PIRN_ENOMEM (another worker only). Answers to tasklet.kill(). */
PIRN_API int pirn_cancel(pirn_tasklet tasklet);

/* The same, but the target is only made ready, in its place at the end of the queue. Answers to kill(pending=True). */
PIRN_API int pirn_cancel_pending(pirn_tasklet tasklet);

/* Strike once: the present parking call of that tasklet, or its next, returns `code` (negative). It may wait again.
 * A tasklet that has not started ends with `code` without running. As pirn_cancel otherwise. `pending`: as above.
 * Answers to tasklet.throw(). */
PIRN_API int pirn_throw(pirn_tasklet tasklet, int code, bool pending);

/* Whether the calling tasklet was cancelled, shielded or not. Never parks; false outside a tasklet. */
PIRN_API bool pirn_cancelled(void);

/* Between these two the calling tasklet's waits ignore cancellation and throws, which stay pending: for clean-up code
 * that must park. They nest. Never park; no-ops outside a tasklet. */
PIRN_API void pirn_shield_enter(void);
PIRN_API void pirn_shield_leave(void);

/* Run `fn(arg)` when the calling tasklet ends, however it ends; last registered runs first, on the tasklet's own stack,
 * shielded. Returns 0, PIRN_ENOMEM, PIRN_ETHREAD. Never parks. */
PIRN_API int pirn_on_exit(void (*fn)(void *arg), void *arg);

/* Rename the calling tasklet (cut at 31 bytes). Never parks; a no-op outside a tasklet. */
PIRN_API void pirn_set_name(const char *name);

/* The name of the calling tasklet ("tasklet" when it has none), or the thread's role outside of one. Valid until the
 * next park. */
PIRN_API const char *pirn_name(void);

/* One slot for the user, inherited by nobody. NULL outside a tasklet. */
PIRN_API void pirn_set_local(void *value);
PIRN_API void *pirn_local(void);

/* Say why the calling tasklet fails: `return pirn_fail(PIRN_EDB, "row %d has no name", i);` The failure is kept with
 * the tasklet, told when it ends with an error that nobody joins for. Returns `code`. Never parks; any thread. */
#define pirn_fail(code, ...) pirn_fail_at(__FILE__, __LINE__, __func__, (code), __VA_ARGS__)
PIRN_API int pirn_fail_at(const char *file, int line, const char *function, int code, const char *format, ...)
    PIRN_PRINTF(5, 6);

#ifdef __cplusplus
}
#endif
#endif
