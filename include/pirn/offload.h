/* SPDX-License-Identifier: MIT
 *
 * pirn/offload.h: blocking calls on threads of their own (Twisted's deferToThread), and calls from threads that pirn
 * did not start (callFromThread).
 */
#ifndef PIRN_OFFLOAD_H
#define PIRN_OFFLOAD_H

#include <pirn/base.h>
#include <pirn/channel.h>
#include <pirn/deferred.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A blocking call. Parks: it must not, but it may block. Thread: one of a pool's; so it must not call anything of pirn
 * that parks or names the running tasklet, nor touch a tasklet's stack. Its own stack has 2 MiB. One that still runs a
 * second after the runtime's end asked it to stop is named on stderr and outlives it: such a job, its `drop` and its
 * result's may then use nothing of pirn but a pirn_foreign handle, whose calls give PIRN_ECLOSED. Args: `arg` is the
 * job's. Owns: `*out`, zeroed before, goes to the deferred. Returns: 0 with `out` set, or a negative code
 * (pirn_result_fail). */
typedef int (*pirn_work_fn)(void *arg, pirn_result *out);

/* ---- pools: bridge/offload_pool.c; jobs: bridge/offload.c ---- */

/* A set of threads with one queue, first in first out. */
typedef struct pirn_pool pirn_pool;

/* Make a pool. Parks: no. Thread: a worker's. Args: `threads` 1 to 64, started now, named "offload-NAME" (cut at 15
 * bytes); at most `queue_max` jobs wait beside those that an idle thread is about to take. Owns: the caller, until
 * pirn_pool_close. Returns: NULL when out of range, without a name or worker here, or for want of memory or threads. */
PIRN_API pirn_pool *pirn_pool_create(const char *name, unsigned threads, unsigned queue_max);

/* Fail the jobs queued with PIRN_ECLOSED, interrupt those running, and free the pool when its threads are done, without
 * waiting for them here. Parks: no. Thread: a worker's. Args: NULL is allowed. Owns: the pool is gone for the caller:
 * no pirn_work may name it from now on. */
PIRN_API void pirn_pool_close(pirn_pool *pool);

typedef struct pirn_work {
    pirn_pool *pool; /* NULL: the runtime's own                                          */
    pirn_work_fn work;
    void *arg; /* the job's own until it ends                                      */
    /* destroys `arg` when the job is over, on the pool's thread, or where it was withdrawn or refused; NULL: nothing */
    pirn_drop_fn drop;
    /* makes a running `work` return soon; runs on another thread while `work` certainly still runs; NULL: cannot */
    void (*interrupt)(void *arg);
    const char *name; /* static; for reports                                             */
} pirn_work;

/* Run `work(arg)` on a thread of the runtime's pool; the deferred fires with its result at the caller's worker.
 * Cancelling the deferred withdraws a queued job and interrupts a running one; the deferred fails with PIRN_ECANCELED
 * at once, a late result is destroyed. Parks: no. Thread: a worker's. Args: `drop` NULL: `arg` needs none. Owns: the
 * job owns `arg`, also on failure of this call (it is then dropped); the caller has one hold on the deferred. Returns:
 * NULL when there is no memory, or no worker here (a line is on stderr). A full queue gives a deferred failed with
 * PIRN_ELIMIT, the runtime's end one failed with PIRN_ECLOSED. Answers to threads.deferToThread. */
#define pirn_offload(work, arg, drop) pirn_offload_at((work), (arg), (drop), __FILE__, __LINE__)
PIRN_API pirn_deferred *pirn_offload_at(pirn_work_fn work, void *arg, pirn_drop_fn drop, const char *file, int line);

/* The same with all its options, which are copied; also with another pool. As pirn_offload. */
#define pirn_offload_with(work) pirn_offload_with_at((work), __FILE__, __LINE__)
PIRN_API pirn_deferred *pirn_offload_with_at(const pirn_work *work, const char *file, int line);

/* ---- threads that pirn did not start: bridge/foreign.c ---- */

/* Of the calls on deferreds that foreign threads and jobs make (pirn_deferred_create_at, _add_callbacks, _add_both,
 * _cancel), so many may be under way to all workers together: a further one fails with PIRN_ELIMIT, create_at with
 * NULL, and can be repeated when the workers have taken some. Firing and releasing never fail for this: their messages
 * are part of the deferred. */
#define PIRN_FOREIGN_CALLS_MAX 16384

/* What a foreign thread needs to call us. While one is open something outside may wake tasklets, so nothing is called a
 * deadlock. May be shared by threads. Valid until closed, also when the runtime is over: calls then give
 * PIRN_ECLOSED. */
typedef struct pirn_foreign pirn_foreign;

/* Open one. Main, or whoever starts the thread that will use it, opens it before it starts that thread: until then
 * nothing says that somebody outside exists, and a deadlock may be reported. Parks: no. Thread: any, while a runtime
 * runs. Owns: the caller, until pirn_foreign_close. Returns: NULL when no runtime runs, there is
 * no memory, or 65,536 are open. */
PIRN_API pirn_foreign *pirn_foreign_open(void);

/* Close it; no other thread may use it from now on. Parks: no. Thread: any, also after the runtime's end. Args: NULL is
 * allowed. */
PIRN_API void pirn_foreign_close(pirn_foreign *foreign);

/* Send without waiting: to a waiting receiver or into the buffer. Parks: no, and it does not block. Thread: any. Args:
 * `elem` as for pirn_send. Owns: as pirn_send. Returns: 0; PIRN_EAGAIN (nobody waits and no room); PIRN_ECLOSED (the
 * channel is closed, or the runtime over); PIRN_EINVAL (a local channel, or no `elem` where one is needed). Answers to
 * reactor.callFromThread. */
PIRN_API int pirn_post(pirn_foreign *foreign, pirn_channel *channel, const void *elem);

/* Start a detached tasklet on the least loaded worker. Parks: no. Thread: any. Owns: on 0 `arg` passes to `fn` as it
 * is; else it stays the caller's. Without memory for the tasklet there `fn` never runs, which is reported. Returns: 0;
 * PIRN_ENOMEM; PIRN_ELIMIT (65,536 such tasklets wait for their first turn); PIRN_ECLOSED (main has returned). */
#define pirn_foreign_spawn(foreign, fn, arg) pirn_foreign_spawn_at((foreign), (fn), (arg), #fn, __FILE__, __LINE__)
PIRN_API int pirn_foreign_spawn_at(pirn_foreign *foreign, pirn_fn fn, void *arg, const char *function, const char *file,
                                   int line);

#ifdef __cplusplus
}
#endif
#endif
