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

/* A blocking call. Runs on a thread of a pool: it may block, and must not call anything of pirn that parks or names
 * the running tasklet. Returns 0 with `out` set, or a negative code (pirn_result_fail). It must not touch a tasklet's
 * stack. */
typedef int (*pirn_work_fn)(void *arg, pirn_result *out);

/* A set of threads with one queue, first in first out. */
typedef struct pirn_pool pirn_pool;

/* Make a pool: `threads` 1 to 64, started now, named "offload-NAME" (cut at 15 bytes); at most `queue_max` jobs wait.
 * NULL: out of range, no memory, no threads. Parks: never. Thread: a worker's. */
PIRN_API pirn_pool *pirn_pool_create(const char *name, unsigned threads, unsigned queue_max);

/* Refuse new jobs, fail those queued with PIRN_ECLOSED, interrupt those running, and free the pool when its threads are
 * done, without waiting for them here. NULL allowed. Parks: never. Thread: a worker's. */
PIRN_API void pirn_pool_close(pirn_pool *pool);

typedef struct pirn_work {
    pirn_pool *pool; /* NULL: the runtime's own                                          */
    pirn_work_fn work;
    void *arg; /* the job's own until it ends                                      */
    /* destroys `arg` when the job is over, on the pool's thread or where it was withdrawn; NULL: nothing */
    pirn_drop_fn drop;
    /* makes a running `work` return soon; runs on another thread while `work` certainly still runs; NULL: cannot */
    void (*interrupt)(void *arg);
    const char *name; /* static; for reports                                             */
} pirn_work;

/* Run `work(arg)` on a thread of the runtime's pool; the deferred fires with its result at the caller's worker.
 * Parks: never. Thread: a worker's. Owns: the job owns `arg`, also on failure of this call (it is then dropped).
 * Cancelling the deferred withdraws a queued job and interrupts a running one; the deferred fails with PIRN_ECANCELED
 * at once, a late result is destroyed. Returns NULL: no memory, no worker here. A full queue gives a deferred failed
 * with PIRN_ELIMIT, a closed pool one failed with PIRN_ECLOSED. Answers to threads.deferToThread. */
#define pirn_offload(work, arg, drop) pirn_offload_at((work), (arg), (drop), __FILE__, __LINE__)
PIRN_API pirn_deferred *pirn_offload_at(pirn_work_fn work, void *arg, pirn_drop_fn drop, const char *file, int line);

/* The same with all its options, which are copied. */
#define pirn_offload_with(work) pirn_offload_with_at((work), __FILE__, __LINE__)
PIRN_API pirn_deferred *pirn_offload_with_at(const pirn_work *work, const char *file, int line);

/* What a foreign thread needs to call us. While one is open something outside may wake tasklets, so nothing is called a
 * deadlock. May be shared by threads. Valid until closed, also while the runtime ends: calls then give PIRN_ECLOSED. */
typedef struct pirn_foreign pirn_foreign;

/* Open one. Thread: any, while a runtime runs. NULL: none runs, or no memory. Parks: never. */
PIRN_API pirn_foreign *pirn_foreign_open(void);
PIRN_API void pirn_foreign_close(pirn_foreign *foreign); /* NULL allowed */

/* Send without waiting: to a waiting receiver or into the buffer. Thread: any. Parks: never, blocks never. Owns: as
 * pirn_send. Returns 0, PIRN_EAGAIN (nobody waits and no room), PIRN_ECLOSED (channel closed or runtime over),
 * PIRN_EINVAL (a local channel). Answers to reactor.callFromThread. */
PIRN_API int pirn_post(pirn_foreign *foreign, pirn_channel *channel, const void *elem);

/* Start a detached tasklet on the least loaded worker. Thread: any. Parks: never. Returns 0, PIRN_ENOMEM,
 * PIRN_ELIMIT (65,536 such tasklets wait for their first turn), PIRN_ECLOSED (main has returned). */
#define pirn_foreign_spawn(foreign, fn, arg) pirn_foreign_spawn_at((foreign), (fn), (arg), __FILE__, __LINE__)
PIRN_API int pirn_foreign_spawn_at(pirn_foreign *foreign, pirn_fn fn, void *arg, const char *file, int line);

#ifdef __cplusplus
}
#endif
#endif
