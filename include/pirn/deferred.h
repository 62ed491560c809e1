/* SPDX-License-Identifier: MIT
 *
 * pirn/deferred.h: results that come later, with chains of callbacks (Twisted) that a tasklet can await (the seeds'
 * block_on).
 *
 * A deferred has a home: the worker of the tasklet that made it. Its callbacks run there, on the scheduler's own stack
 * between two tasklets or inside the tasklet that fires or adds: they must not park (a waiting call returns
 * PIRN_ETHREAD, or PIRN_EAGAIN with PIRN_NOW). Fire, fail, add,
 * cancel and release work from every thread: elsewhere they are messages to the home. Await works in every tasklet.
 * A thread that pirn did not start may use them as long as it likes: when the runtime is over they give PIRN_ECLOSED.
 *
 * Holds: create gives one hold, retain one more, release gives one up. Who will fire a deferred keeps a hold until
 * it has fired. The result belongs to the deferred until its last hold is gone; then what nobody took is destroyed, and
 * a failure that no callback, await or chain ever saw is reported with the place where it was made.
 */
#ifndef PIRN_DEFERRED_H
#define PIRN_DEFERRED_H

#include <pirn/base.h>
#include <pirn/tasklet.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pirn_deferred pirn_deferred;

/* Asked to stop the work behind `deferred`. It may fire or fail it now or later, or not at all: then it is failed with
 * PIRN_ECANCELED right after. Runs at home. Answers to Deferred(canceller). */
typedef void (*pirn_canceller)(pirn_deferred *deferred, void *context);

/* One link of a chain. `result` is the result so far, owned by the callee while it runs: leave it, change it, or drop
 * and replace it (pirn_result_drop, pirn_result_fail). To go on with the result of another deferred return it: the
 * chain takes over the callee's hold on it and waits; its own deferred gives PIRN_EDEADLK. Return NULL otherwise. Runs
 * at home; must not park. Once an await has borrowed the result, callbacks added later see it with `drop` NULL: they
 * may read it, and change what callbacks after them see, but not take it away. What takes results away (a returned
 * deferred, chain, list, race, await_take) then gives the failure PIRN_EBUSY, unless nothing must be destroyed or
 * nobody else has a hold. */
typedef pirn_deferred *(*pirn_callback)(void *context, pirn_result *result);

/* Make a deferred at the caller's worker (on a foreign thread or the reactor: pirn_deferred_create_at, with the home's
 * number). It remembers the line that made it, for the report of an unhandled failure. Parks: never. Args: `canceller`
 * may be NULL; `home` a worker's number, or -1: the caller's. Owns: the caller has one hold. Returns NULL: no memory,
 * no worker here, or no such home. */
#define pirn_deferred_create(canceller, context)                                                                       \
    pirn_deferred_create_from(-1, (canceller), (context), __FILE__, __LINE__)
#define pirn_deferred_create_at(home, canceller, context)                                                              \
    pirn_deferred_create_from((home), (canceller), (context), __FILE__, __LINE__)
PIRN_API pirn_deferred *pirn_deferred_create_from(int home, pirn_canceller canceller, void *context, const char *file,
                                                  int line);

/* Already fired with `value`, or failed with `failure`. Owns: takes the value or failure; when it returns NULL (as
 * create) that has been destroyed. Answers to defer.succeed and defer.fail. */
PIRN_API pirn_deferred *pirn_deferred_succeed(void *value, pirn_drop_fn drop);
PIRN_API pirn_deferred *pirn_deferred_fail_now(pirn_failure *failure);

/* One hold more (returns `deferred`), and one given up. Any thread, also after the runtime's end; never park. */
PIRN_API pirn_deferred *pirn_deferred_retain(pirn_deferred *deferred);
PIRN_API void pirn_deferred_release(pirn_deferred *deferred); /* NULL allowed; never fails, on any thread */

/* Add a pair: `on_result` runs for a success, `on_failure` for a failure; a NULL half passes the result on. With a
 * result already there it runs now, inside this call; elsewhere than at home, soon, there. Parks: never. Thread: any.
 * Returns 0, PIRN_ENOMEM, PIRN_ECLOSED (a foreign thread, the runtime is over). Answers to addCallbacks. */
PIRN_API int pirn_deferred_add_callbacks(pirn_deferred *deferred, pirn_callback on_result, pirn_callback on_failure,
                                         void *context);
PIRN_API int pirn_deferred_add_both(pirn_deferred *deferred, pirn_callback callback, void *context);

/* Give the result. Parks: never. Thread: any. Owns: the deferred has `value` on 0; on any other return
 * the value has been destroyed with `drop` (a late result goes nowhere, and its destructor runs once). Returns: 0;
 * PIRN_EALREADY when it fired before (one late fire after a cancel without canceller is swallowed and gives 0);
 * PIRN_ECLOSED (a foreign thread, the runtime is over).
 * Answers to Deferred.callback and Deferred.errback. */
PIRN_API int pirn_deferred_fire(pirn_deferred *deferred, void *value, pirn_drop_fn drop);
PIRN_API int pirn_deferred_fail(pirn_deferred *deferred, pirn_failure *failure);
/* Either, by `result->status`; takes what the result owns and zeroes it. */
PIRN_API int pirn_deferred_settle(pirn_deferred *deferred, pirn_result *result);

/* Cancel: an unfired one asks its canceller and fails with PIRN_ECANCELED unless that fired it; one that waits for an
 * inner deferred cancels the inner; a finished one stays as it is. Parks: never. Thread: any. Returns 0, PIRN_ECLOSED,
 * PIRN_ENOMEM (elsewhere than at home only). Answers to Deferred.cancel. */
PIRN_API int pirn_deferred_cancel(pirn_deferred *deferred);

/* Pause and unpause, counted: no callback runs while paused. Thread: home. Returns 0, PIRN_ETHREAD, PIRN_EINVAL
 * (unpause of one that is not paused). Answer to Deferred.pause and unpause. */
PIRN_API int pirn_deferred_pause(pirn_deferred *deferred);
PIRN_API int pirn_deferred_unpause(pirn_deferred *deferred);

/* When `source` comes to this place in its chain, fire `target` with its result, which moves: `source` goes on with a
 * successful nothing. Takes over the caller's hold on both. Cancelling `target` does not cancel `source`. Thread: the
 * home of both. Returns 0, PIRN_ETHREAD, PIRN_ENOMEM (holds stay with the caller). Answers to
 * Deferred.chainDeferred. */
PIRN_API int pirn_deferred_chain(pirn_deferred *source, pirn_deferred *target);

/* Fire with pirn_deferred_results once all `count` have finished, in list order whatever their order in time.
 * Holds: takes the caller's hold on each; their results move into the list's. `flags` as Twisted's DeferredList: fire
 * on the first success (`index` says which; an empty list then never fires), fail on the first failure (its code, and
 * itself as the cause), count the children's failures as handled (without it each child keeps a copy, which is reported
 * unless somebody handles it there). Cancelling the list cancels its children, and it finishes as they do. It does not
 * cancel the others when it fires early; their late results are destroyed. NULL: no memory, not the home of all,
 * unknown flags; then the holds stay with the caller. Answers to DeferredList. */
enum pirn_list_flags {
    PIRN_LIST_FIRE_ON_ONE_RESULT = 1,
    PIRN_LIST_FIRE_ON_ONE_FAILURE = 2,
    PIRN_LIST_CONSUME_FAILURES = 4
};
typedef struct pirn_deferred_results {
    size_t count;
    size_t index; /* the one that fired it early; count when all did                          */
    /* Owned by this value; take one by copying and zeroing it. Not come yet: zero. */
    __extension__ pirn_result results[];
} pirn_deferred_results;
PIRN_API pirn_deferred *pirn_deferred_list(pirn_deferred **deferreds, size_t count, unsigned flags);

/* Fire with the first success (pirn_deferred_results with one meaningful entry, `index`) and cancel the others, once
 * each, whose results then go nowhere; fail with the last failure when all fail, with PIRN_EINVAL when there is none.
 * Holds, cancel and NULL as pirn_deferred_list. Answers to defer.race. */
PIRN_API pirn_deferred *pirn_deferred_race(pirn_deferred **deferreds, size_t count);

/* Cancel it when it has not come to this place in its chain by `deadline`; the PIRN_ECANCELED that this makes is
 * PIRN_ETIMEDOUT for callbacks added later. A canceller that gives a result wins. Thread: home. Returns 0, PIRN_ENOMEM,
 * PIRN_ETHREAD. Answers to Deferred.addTimeout. */
PIRN_API int pirn_deferred_deadline(pirn_deferred *deferred, pirn_time deadline);

/* Whether it has a result that stays (no callback outstanding, not paused or chained). Any thread; a snapshot. */
PIRN_API bool pirn_deferred_finished(pirn_deferred *deferred);

/* Wait for the result. A finished deferred never parks. Parks: yes. Thread: a tasklet on any worker. Args: `out` may be
 * NULL. Owns: `*out` borrows from the deferred (its drop is NULL): valid while the caller has a hold, not for
 * pirn_result_drop. Returns: 0 for a success; the failure's code, with `out->failure` borrowed, for a failure (it then
 * counts as handled); and with `out` zeroed: PIRN_EAGAIN, PIRN_ETIMEDOUT, PIRN_ECANCELED, PIRN_EDEADLK, PIRN_ETHREAD,
 * PIRN_ENOMEM (elsewhere than at home only). A cancelled wait (or one ended by a throw) cancels the deferred when it
 * was its last consumer: no other await, chain, list or deferred waits for it. A deadline leaves it alone.
 * To tell a wait's own code from the result's, compare `out->status` (0 when the wait ended early).
 * Answers to the seeds' block_on. */
PIRN_API int pirn_await(pirn_deferred *deferred, pirn_result *out, pirn_time deadline);

/* As pirn_await, but `*out` takes the result: the caller owns it (pirn_result_drop), and gives up its hold on the
 * deferred, on every return. Where the wait ends early, by a deadline too, the deferred is cancelled when no other
 * await, chain, list or deferred waits for it. Thread: a tasklet at home. Returns as pirn_await, and PIRN_EBUSY when
 * others have borrowed the result. */
PIRN_API int pirn_await_take(pirn_deferred *deferred, pirn_result *out, pirn_time deadline);

/* A function that runs in a tasklet of its own, with its result in `out`: returns 0 or a negative code. */
typedef int (*pirn_call_fn)(void *arg, pirn_result *out);

/* Run `fn(arg)` in a new tasklet of this worker; the deferred fires with its result. Cancelling it cancels the tasklet,
 * and it finishes when that has ended: `fn` may catch the PIRN_ECANCELED and return something else. Parks: never.
 * Thread: a worker's. Returns NULL: no memory or no worker here. Answers to the seeds' deferred_tasklet. */
#define pirn_deferred_tasklet(fn, arg) pirn_deferred_tasklet_from((fn), (arg), __FILE__, __LINE__)
PIRN_API pirn_deferred *pirn_deferred_tasklet_from(pirn_call_fn fn, void *arg, const char *file, int line);

/* Run `fn(arg)` in a new tasklet and wait for it. Parks: yes. Owns: `*out` is the caller's. Returns what `fn` came to,
 * or the wait's own code (the tasklet is then cancelled, and its late result destroyed). In a callback or outside a
 * tasklet: PIRN_ETHREAD before anything was started. Answers to the seeds' blocking_tasklet. */
#define pirn_blocking_tasklet(fn, arg, out, deadline)                                                                  \
    pirn_blocking_tasklet_from((fn), (arg), (out), (deadline), __FILE__, __LINE__)
PIRN_API int pirn_blocking_tasklet_from(pirn_call_fn fn, void *arg, pirn_result *out, pirn_time deadline,
                                        const char *file, int line);

#ifdef __cplusplus
}
#endif
#endif
