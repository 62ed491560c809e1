/* SPDX-License-Identifier: MIT
 *
 * pirn/reactor.h: what Twisted's reactor does for its users: calls later, repeated calls, names, signals. Every answer
 * is a deferred or a channel at the asker's worker, and no user code runs on the reactor. Calls later and signals are
 * asked of it by message; repeated calls are a tasklet of the asker's worker, and names are looked up on threads.
 */
#ifndef PIRN_REACTOR_H
#define PIRN_REACTOR_H

#include <sys/socket.h>

#include <pirn/base.h>
#include <pirn/channel.h>
#include <pirn/deferred.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Fire (with no value) `delay_ns` from now, by the reactor's clock (whole milliseconds, never early). Calls that are
 * due fire in the order of their deadlines; those of one worker with equal deadlines in the order of asking. Add the
 * callback to the deferred; cancelling it takes the timer back. It fails with PIRN_ECLOSED when the runtime ends first.
 * Parks: no. Thread: a worker's. Args: a delay of 0 or less is the reactor's next turn. Owns: the caller has one hold.
 * Returns: NULL when there is no memory, or no worker here. Answers to reactor.callLater. reactor_thread/later.c */
PIRN_API pirn_deferred *pirn_call_later(int64_t delay_ns);

/* Call `fn(arg)` in a tasklet of this worker every `interval_ns`, now and at start + k * interval: ticks missed while
 * it runs are skipped, never bunched, and it does not drift. Ends when `fn` returns non-zero (its deferred then fails
 * with that code, PIRN_EFAILED for a positive one), at pirn_looping_call_stop or when its tasklet is cancelled, as by
 * the runtime's end (it fires). Parks: no; `fn` may. Thread: a worker's. Args: `now` false: first after one interval;
 * an interval of 0 is once a turn of the scheduler. Owns: the caller, until pirn_looping_call_release; `arg` stays the
 * caller's. Returns: NULL for a negative interval, no `fn`, no memory, or no worker here. Answers to task.LoopingCall.
 * reactor_thread/looping_call.c */
typedef struct pirn_looping_call pirn_looping_call;
PIRN_API pirn_looping_call *pirn_looping_call_start(int64_t interval_ns, bool now, pirn_fn fn, void *arg);

/* Its deferred, which fires at the end. Parks: no. Thread: any. Owns: borrowed, valid until the release. */
PIRN_API pirn_deferred *pirn_looping_call_done(pirn_looping_call *call);

/* Stop after the call that runs, if any; release stops too, and frees it once its tasklet has ended. Parks: no. Thread:
 * any, also in `fn` and after the runtime's end. Elsewhere than at home the stop is a message: a call that begins
 * before that message arrives still runs. Args: release allows NULL. */
PIRN_API void pirn_looping_call_stop(pirn_looping_call *call);
PIRN_API void pirn_looping_call_release(pirn_looping_call *call);

typedef struct pirn_addresses {
    size_t count;
    __extension__ struct sockaddr_storage address[]; /* with the port filled in                                       */
} pirn_addresses;

/* Resolve `host` and `service`. Parks: no. Thread: a worker's. Args: `host` a name or an address; `service` a port
 * number or name, NULL: 0; `family` AF_UNSPEC, AF_INET or AF_INET6. Strings are copied. A numeric host with a numeric
 * service is answered at once; else a thread blocks in getaddrinfo. Equal lookups (host in any case, family) under way
 * at one time share one call. At most 64 calls run at once, so 63 names that hang hold up no other. Owns: the caller
 * has one hold; the value is a pirn_addresses. Returns: NULL when there is no memory, or no worker here. The deferred
 * fails with PIRN_EDNS (not found, or no host given), PIRN_ENOMEM (also: no threads could be had), PIRN_ELIMIT (1,024
 * lookups wait), PIRN_ECLOSED (the runtime ends). Answers to reactor.resolve. reactor_thread/resolve.c */
PIRN_API pirn_deferred *pirn_resolve(const char *host, const char *service, int family);

/* A channel of int that receives `signal_number` each time the process gets that signal (several while nobody receives
 * may count once; eight wait at most). Its receivers are woken from outside: never called a deadlock. Parks: in a
 * tasklet, for a moment, until the handler is in place; ignores cancellation. Thread: a worker's; in a callback it does
 * not wait, and the handler is in place soon after. Owns: the caller, until pirn_signal_close, which also frees it (not
 * pirn_channel_destroy); the runtime's end closes it. Returns: NULL when it is no catchable signal, there is no memory,
 * no worker here, or the runtime ends. reactor_thread/signal.c */
PIRN_API pirn_channel *pirn_signal_open(int signal_number);

/* Close such a channel and give the signal its default action back. Parks: no. Thread: a worker's. Args: NULL is
 * allowed, and a channel that is none of these is left alone. */
PIRN_API void pirn_signal_close(pirn_channel *channel);

#ifdef __cplusplus
}
#endif
#endif
