/* SPDX-License-Identifier: MIT
 *
 * pirn/reactor.h: what the reactor does for tasklets: calls later, repeated calls, names, signals, HTTP fetches. All of
 * it is asked by message and answered by a deferred or a channel at the asker's worker; the reactor runs no user code.
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

/* Fire (with no value) `delay_ns` from now, by the reactor's clock (whole milliseconds, never early). Add the callback
 * to the deferred; cancelling it takes the timer back. Parks: never. Thread: a worker's. NULL: no memory, no worker
 * here. Answers to reactor.callLater. */
PIRN_API pirn_deferred *pirn_call_later(int64_t delay_ns);

/* Call `fn(arg)` in a tasklet of this worker every `interval_ns`, now and at start + k * interval: ticks missed while
 * it runs are skipped, never bunched, and it does not drift. Ends when `fn` returns non-zero (its deferred then fails
 * with that code) or at pirn_looping_call_stop (it fires). `now` false: first after one interval. Thread: a worker's.
 * NULL: negative interval, no memory, no worker here. Answers to task.LoopingCall. */
typedef struct pirn_looping_call pirn_looping_call;
PIRN_API pirn_looping_call *pirn_looping_call_start(int64_t interval_ns, bool now, pirn_fn fn, void *arg);
/* Its deferred: borrowed; fires at the end. */
PIRN_API pirn_deferred *pirn_looping_call_done(pirn_looping_call *call);
/* Stop after the call that runs, if any; free with pirn_looping_call_release (which stops too). Never park. Home
 * worker. */
PIRN_API void pirn_looping_call_stop(pirn_looping_call *call);
PIRN_API void pirn_looping_call_release(pirn_looping_call *call);

typedef struct pirn_addresses {
    size_t count;
    __extension__ struct sockaddr_storage address[]; /* with the port filled in                                       */
} pirn_addresses;

/* Resolve `host` (a numeric one at once) and `service` (a port number or name, NULL: 0); `family` AF_UNSPEC, AF_INET or
 * AF_INET6. Fires with a pirn_addresses; fails with PIRN_EDNS. Strings are copied. Thread: a worker's. NULL: no memory,
 * no worker here. Answers to reactor.resolve. */
PIRN_API pirn_deferred *pirn_resolve(const char *host, const char *service, int family);

/* A channel of int that receives `signal_number` each time the process gets that signal (several while nobody receives
 * may count once). Its receivers are woken from outside: never called a deadlock. Close it with pirn_signal_close.
 * Parks: in a tasklet, for a moment, until the handler is in place; ignores cancellation. Thread: a worker's.
 * NULL: not a catchable signal, no memory. */
PIRN_API pirn_channel *pirn_signal_open(int signal_number);
PIRN_API void pirn_signal_close(pirn_channel *channel);

#ifdef __cplusplus
}
#endif
#endif
