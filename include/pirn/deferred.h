/* SPDX-License-Identifier: MIT
 *
 * pirn/deferred.h: results that come later, with chains of callbacks (Twisted) that a tasklet can await (the seeds'
 * block_on).
 *
 * A deferred has a home: the worker of the tasklet that made it. Its callbacks run there, on the scheduler's own stack
 * between two tasklets or inside the tasklet that fires or adds: they must not park (a waiting call returns
 * PIRN_ETHREAD, or PIRN_EAGAIN with PIRN_NOW). Fire, fail, add, cancel and release work from every thread: elsewhere
 * they are messages to the home. Await works in every tasklet. A thread that pirn did not start may use them as long as
 * it likes. When the runtime of a deferred is over, each call on it gives PIRN_ECLOSED (list and race NULL), in a
 * later runtime too; release still frees it, and await still gives a result that came before.
 *
 * Holds: create gives one hold, retain one more, release gives one up. Who will fire a deferred keeps a hold until it
 * has fired. The result belongs to the deferred until its last hold is gone; then what nobody took is destroyed, and a
 * failure that is still the result, and that no await saw, is reported with the place where it was made (but for
 * PIRN_ECANCELED, which somebody asked for, and for a failure that came after the last await for it had ended early).
 */
#ifndef PIRN_DEFERRED_H
#define PIRN_DEFERRED_H

#include <pirn/base.h>
#include <pirn/tasklet.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pirn_deferred pirn_deferred;

/* ---- life, fire, cancel: core/deferred.c; the chain: core/deferred_run.c ---- */

/* Asked to stop the work behind `deferred`. It may fire or fail it now or later, or not at all: then it is failed with
 * PIRN_ECANCELED right after. Parks: it must not. Thread: home. Answers to Deferred(canceller). */
typedef void (*pirn_canceller)(pirn_deferred *deferred, void *context);

/* One link of a chain. Parks: it must not. Thread: home. Args: `result` is the result so far, owned by the callee while
 * it runs: leave it, change it, or drop and replace it (pirn_result_drop, pirn_result_fail). Returns: NULL; or another
 * deferred to go on with its result: the chain takes over the callee's hold on it and waits; its own deferred gives
 * PIRN_EDEADLK. Once an await has borrowed the result, callbacks added later see it with `drop` NULL: they may read it,
 * and change what callbacks after them see, but not take it away. What takes results away (a returned deferred, chain,
 * list, race, await_take) then gives the failure PIRN_EBUSY, unless nothing must be destroyed or nobody else has a
 * hold. */
typedef pirn_deferred *(*pirn_callback)(void *context, pirn_result *result);

/* Make a deferred at the caller's worker (on a foreign thread or the reactor: pirn_deferred_create_at, with the home's
 * number). It remembers the line that made it, for the report of an unhandled failure. Parks: no. Thread: a worker's;
 * with a home any. Args: `canceller` may be NULL; `home` a worker's number, or -1: the caller's. Owns: the caller has
 * one hold. Returns: NULL when there is no memory, no worker here (a line is on stderr), no such home, no runtime any
 * more, or too many calls of foreign threads are under way (PIRN_FOREIGN_CALLS_MAX). Answers to Deferred(). */
#define pirn_deferred_create(canceller, context)                                                                       \
    pirn_deferred_create_from(-1, (canceller), (context), __FILE__, __LINE__)
#define pirn_deferred_create_at(home, canceller, context)                                                              \
    pirn_deferred_create_from((home), (canceller), (context), __FILE__, __LINE__)
PIRN_API pirn_deferred *pirn_deferred_create_from(int home, pirn_canceller canceller, void *context, const char *file,
                                                  int line);

/* Already fired with `value`, or failed with `failure` (NULL: PIRN_EFAILED). Parks: no. Thread: a worker's. Owns: takes
 * the value or failure; the caller has one hold. Returns: NULL as pirn_deferred_create; value or failure have then been
 * destroyed. Answers to defer.succeed and defer.fail. */
PIRN_API pirn_deferred *pirn_deferred_succeed(void *value, pirn_drop_fn drop);
PIRN_API pirn_deferred *pirn_deferred_fail_now(pirn_failure *failure);

/* One hold more (returns `deferred`), and one given up. Parks: no. Thread: any, also after the runtime's end. Args:
 * release allows NULL. Owns: the last release destroys what is left, at home. */
PIRN_API pirn_deferred *pirn_deferred_retain(pirn_deferred *deferred);
PIRN_API void pirn_deferred_release(pirn_deferred *deferred);

/* Add a pair: `on_result` runs for a success, `on_failure` for a failure. With a result already there it runs now,
 * inside this call; elsewhere than at home, soon, there. Parks: no. Thread: any. Args: a NULL half passes the result
 * on; add_both adds one function as both halves. Owns: `context` stays the caller's. Returns: 0; PIRN_ENOMEM;
 * PIRN_ELIMIT (a foreign thread: PIRN_FOREIGN_CALLS_MAX calls are under way); PIRN_ECLOSED (a foreign thread, the
 * runtime is over). Answers to addCallbacks and addBoth. */
PIRN_API int pirn_deferred_add_callbacks(pirn_deferred *deferred, pirn_callback on_result, pirn_callback on_failure,
                                         void *context);
PIRN_API int pirn_deferred_add_both(pirn_deferred *deferred, pirn_callback callback, void *context);

/* Give the result. Parks: no. Thread: any. Args: a NULL `failure` is PIRN_EFAILED. Owns: the deferred has `value` or
 * `failure` on 0; on any other return it has been destroyed (a late result goes nowhere, and its destructor runs once).
 * Returns: 0; PIRN_EALREADY (it fired before; one late fire after a cancel without canceller is swallowed and gives 0);
 * PIRN_ECLOSED (a foreign thread, the runtime is over). Answers to Deferred.callback and Deferred.errback. */
PIRN_API int pirn_deferred_fire(pirn_deferred *deferred, void *value, pirn_drop_fn drop);
PIRN_API int pirn_deferred_fail(pirn_deferred *deferred, pirn_failure *failure);
/* Either, by `result->status`: 0, or negative (a positive one counts as PIRN_EFAILED). Takes what the result owns and
 * zeroes it. As pirn_deferred_fire. */
PIRN_API int pirn_deferred_settle(pirn_deferred *deferred, pirn_result *result);

/* Cancel: one without a result asks its canceller and fails with PIRN_ECANCELED unless that fired it; one that waits
 * for an inner deferred cancels the inner; a finished one stays as it is. At home the cancel is final when it returns:
 * a result that is on its way from another thread, or comes later, goes nowhere, and its destructor runs once. (A list,
 * a race and a deferred tasklet finish in their own time.) Parks: no. Thread: any. Returns: 0; PIRN_ENOMEM (for
 * the message, elsewhere than at home); PIRN_ELIMIT (a foreign thread: PIRN_FOREIGN_CALLS_MAX calls are under way);
 * PIRN_ECLOSED (a foreign thread, the runtime is over). Answers to Deferred.cancel. */
PIRN_API int pirn_deferred_cancel(pirn_deferred *deferred);

/* Pause and unpause, counted: no callback runs while paused. Parks: no. Thread: home. Returns: 0; PIRN_ETHREAD (not at
 * home; a line is on stderr); PIRN_EINVAL (unpause of one that is not paused). Answer to Deferred.pause and unpause. */
PIRN_API int pirn_deferred_pause(pirn_deferred *deferred);
PIRN_API int pirn_deferred_unpause(pirn_deferred *deferred);

/* When `source` comes to this place in its chain, fire `target` with its result, which moves: `source` goes on with a
 * successful nothing. A target that was cancelled has it destroyed; from one that fired by other means, as in a ring of
 * chains, it stays with `source`. Cancelling `target` does not cancel `source`. Parks: no. Thread: the home of both.
 * Owns: on 0 it takes over the caller's hold on both; else they stay the caller's, and the result with `source`.
 * Returns: 0; PIRN_EINVAL (`source` is `target`); PIRN_ETHREAD (not the home of both; a line is on stderr);
 * PIRN_ENOMEM. Answers to Deferred.chainDeferred. */
PIRN_API int pirn_deferred_chain(pirn_deferred *source, pirn_deferred *target);

/* ---- many as one: core/deferred_list.c ---- */

/* Fire with pirn_deferred_results once all `count` have finished, in list order whatever their order in time.
 * Cancelling the list cancels its children, and it finishes as they do. It does not cancel the others when it fires
 * early; their late results are destroyed. Parks: no. Thread: the home of all. Args: `flags` as Twisted's DeferredList:
 * fire on the first success (`index` says which; an empty list then never fires), fail on the first failure (its code,
 * and itself as the cause), count the children's failures as handled (without it each child keeps a copy, which is
 * reported unless somebody handles it there). Owns: takes the caller's hold on each entry, and their results move into
 * the list's; the caller has one hold on the list. A deferred may stand in it twice, with two holds, or in several
 * lists and races when it fires: then each entry has its result, a success with `drop` NULL: it is valid while the
 * results that the entry is part of are. Returns: NULL when there is no memory, this is not the home of all (a line is
 * on stderr), or for unknown flags; then the holds stay with the caller. Answers to DeferredList. */
enum pirn_list_flags {
    PIRN_LIST_FIRE_ON_ONE_RESULT = 1,
    PIRN_LIST_FIRE_ON_ONE_FAILURE = 2,
    PIRN_LIST_CONSUME_FAILURES = 4
};
typedef struct pirn_deferred_results {
    size_t count;
    size_t index; /* the one that fired it early; count when all did                          */
    /* Owned by this value; take one that has a drop by copying and zeroing it. Not come yet: zero. */
    __extension__ pirn_result results[];
} pirn_deferred_results;
PIRN_API pirn_deferred *pirn_deferred_list(pirn_deferred **deferreds, size_t count, unsigned flags);

/* Fire with the first success (pirn_deferred_results with one meaningful entry, `index`) and cancel the others, once
 * each, whose results then go nowhere; fail with the last failure when all fail, with PIRN_EINVAL when there is none.
 * Parks: no. Thread, Owns, Returns, and a cancel: as pirn_deferred_list. Answers to defer.race. */
PIRN_API pirn_deferred *pirn_deferred_race(pirn_deferred **deferreds, size_t count);

/* Cancel it when it has not come to this place in its chain by `deadline`; the PIRN_ECANCELED that this makes is
 * PIRN_ETIMEDOUT for callbacks added later. A canceller that gives a result wins. Parks: no. Thread: home. Args:
 * PIRN_FOREVER does nothing. Returns: 0; PIRN_ENOMEM; PIRN_ETHREAD (not at home; a line is on stderr). Answers to
 * Deferred.addTimeout. core/deferred_deadline.c */
PIRN_API int pirn_deferred_deadline(pirn_deferred *deferred, pirn_time deadline);

/* Whether it has a result that stays (no callback outstanding, not paused or chained): a snapshot. Parks: no. Thread:
 * any. */
PIRN_API bool pirn_deferred_finished(pirn_deferred *deferred);

/* ---- wait: core/deferred_await.c ---- */

/* Wait for the result. A cancelled wait (or one ended by a throw) cancels the deferred when it was its last consumer:
 * no other await, chain, list or deferred waits for it. A deadline leaves it alone. Parks: yes; for a finished deferred
 * never. Thread: a tasklet on any worker; with PIRN_NOW any. Args: `out` may be NULL. Owns: `*out` borrows from the
 * deferred (its drop is NULL): valid while the caller has a hold, not for pirn_result_drop. Returns: 0 for a success;
 * the failure's code, with `out->failure` borrowed, for a failure (it then counts as handled); and with `out` zeroed
 * PIRN_EINVAL (NULL, as a call without memory gives), PIRN_ENOMEM (elsewhere than at home), PIRN_ECLOSED (its runtime
 * was over before it had a result) or the wait's codes. To tell
 * those from the result's, compare `out->status` (0 when the wait ended early). Answers to the seeds' block_on. */
PIRN_API int pirn_await(pirn_deferred *deferred, pirn_result *out, pirn_time deadline);

/* As pirn_await, but `*out` takes the result. Where the wait ends early, by a deadline too, the deferred is cancelled
 * when no other await, chain, list or deferred waits for it. Parks: yes; for a finished deferred never. Thread: a
 * tasklet at home; with PIRN_NOW also a callback there. Args: `out` is not NULL. Owns: the caller owns `*out`
 * (pirn_result_drop), and gives up its hold on the deferred, on every return. Returns: as pirn_await; PIRN_EBUSY
 * (others have borrowed the result); PIRN_ETHREAD also elsewhere than at home (a line is on stderr). */
PIRN_API int pirn_await_take(pirn_deferred *deferred, pirn_result *out, pirn_time deadline);

/* ---- a tasklet's result: core/deferred_tasklet.c ---- */

/* A function with a result. Parks: as it likes. Thread: a tasklet of its own. Owns: `*out`, zeroed before, belongs to
 * whoever waits for it. Returns: 0; or a negative code, with `out` untouched or failed (pirn_result_fail). */
typedef int (*pirn_call_fn)(void *arg, pirn_result *out);

/* Run `fn(arg)` in a new tasklet of this worker; the deferred fires with its result. Cancelling it cancels the tasklet,
 * and it finishes when that has ended: `fn` may catch the PIRN_ECANCELED and return something else. The success of a
 * `fn` that ended without learning of the cancel is destroyed, and the deferred fails with PIRN_ECANCELED. Parks: no.
 * Thread: a worker's. Owns: `arg` passes to `fn` as it is; the caller has one hold. Returns: NULL when there is no
 * memory, or no worker here (a line is on stderr); then `fn` never runs. A name of our own. */
#define pirn_deferred_tasklet(fn, arg) pirn_deferred_tasklet_from((fn), (arg), #fn, __FILE__, __LINE__)
PIRN_API pirn_deferred *pirn_deferred_tasklet_from(pirn_call_fn fn, void *arg, const char *function, const char *file,
                                                   int line);

/* Run `fn(arg)` in a new tasklet and wait for it. `fn` has always ended when this returns, so `arg` may stand on the
 * caller's stack: when the wait ends early, the tasklet is cancelled and waited for, without a limit and shielded from
 * cancellation. Parks: yes, past the deadline for as long as `fn` takes to end. Thread: a tasklet. Args: `out` may be
 * NULL: what it owns is destroyed. Owns: `*out` is the caller's. Returns: what `fn` came to; PIRN_ENOMEM; the wait's
 * codes: nothing was started (so always with PIRN_NOW), or the wait ended early, and the late result was destroyed. The
 * one exception: after PIRN_EDEADLK, in main only, `fn` may still be parked. A name of our own. */
#define pirn_blocking_tasklet(fn, arg, out, deadline)                                                                  \
    pirn_blocking_tasklet_from((fn), (arg), (out), (deadline), #fn, __FILE__, __LINE__)
PIRN_API int pirn_blocking_tasklet_from(pirn_call_fn fn, void *arg, pirn_result *out, pirn_time deadline,
                                        const char *function, const char *file, int line);

#ifdef __cplusplus
}
#endif
#endif
