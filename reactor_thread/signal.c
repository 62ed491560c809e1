/* SPDX-License-Identifier: MIT
 *
 * What: pirn_signal_open and _close: a libuv signal handle that sends into a channel.
 *
 * Threads: open and close a worker's; begin, caught, refuse, fini the reactor's; the list of watches any, under
 *       `watches_lock`, which is held for a few instructions.
 * States: opening (a request is out) -> watching -> closing -> closed. The watch is freed when its handle is closed and
 *       the program has closed its channel, or at the end of the runtime.
 * Invariants: (1) when pirn_signal_open returns to a tasklet the handler is in place: a signal sent after that is never
 *       the process' death; (2) a watch counts as something outside that can wake a tasklet until the program closes
 *       it, or the runtime does; (3) handlers run on the alternate stack where the thread has one: a tasklet's stack is
 *       no place for a signal frame.
 */
#include <pirn/reactor.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "alloc.h"
#include "channel.h"
#include "live.h"
#include "reactor.h"
#include "request.h"
#include "runtime.h"
#include "sched.h"
#include "signal_watch.h"
#include "thread.h"
#include "watchdog.h"

/* Signals that wait for a receiver; more of them count once. */
#define SIGNALS_WAITING_MAX 8

typedef struct watch {
    /* immutable after open */
    int number;
    pirn_channel *channel;
    /* under watches_lock */
    pn_node link;
    bool open; /* counts as an outside thing                                                           */
    /* from pirn_signal_close to the reactor */
    pn_message forget;
    /* reactor only */
    uv_signal_t handle;
    bool watching;  /* the handle is open, or closing                                                 */
    bool forgotten; /* the program has closed the channel                                             */
} watch;

/* What opens a watch; over when the handler is in place. */
typedef struct opening {
    pn_request request;
    watch *watched;
} opening;

static pthread_mutex_t watches_lock = PTHREAD_MUTEX_INITIALIZER;
static pn_list watches = {{&watches.head, &watches.head}};
static bool refusing; /* under watches_lock: the runtime is ending, and counts no more hopes */

static void free_watch(watch *watched) {
    pirn_channel_destroy(watched->channel);
    pn_free(watched);
}

/* ---- the reactor's side ---- */

static void closed(uv_handle_t *handle) {
    watch *watched = PN_CONTAINER_OF(handle, watch, handle);
    watched->watching = false;
    if (watched->forgotten) {
        free_watch(watched);
    }
}

static void close_handle(watch *watched) {
    if (watched->watching && !uv_is_closing((uv_handle_t *)&watched->handle)) {
        pn_loop_touch(pn_reactor_current.loop);
        uv_close((uv_handle_t *)&watched->handle, closed);
    }
}

static void caught(uv_signal_t *handle, int number) {
    watch *watched = PN_CONTAINER_OF(handle, watch, handle);
    pirn_case sending = {.channel = watched->channel, .direction = PIRN_SEND, .elem = &number};
    /* A full channel has enough of them waiting. */
    (void)pn_channel_operate(&sending, 1, PIRN_NOW, "pirn_signal_open");
}

/* libuv installs its handler without SA_ONSTACK, and some thread must be able to take the signal: this one, when all
 * others may have it blocked. In single mode this one runs tasklets, and leaves it to the watchdog if that can have
 * it. */
static void make_deliverable(int number) {
    struct sigaction action;
    if (sigaction(number, NULL, &action) == 0) {
        action.sa_flags |= SA_ONSTACK;
        (void)sigaction(number, &action, NULL);
    }
    if (pn_watchdog_takes(number)) {
        return;
    }
    sigset_t one;
    (void)sigemptyset(&one);
    (void)sigaddset(&one, number);
    (void)pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

/* watches_lock held. */
static void count_closed(watch *watched) {
    if (watched->open) {
        watched->open = false;
        pn_outside_end();
    }
}

static void begin(pn_request *request) {
    watch *watched = PN_CONTAINER_OF(request, opening, request)->watched;
    pn_loop *loop = pn_reactor_current.loop;
    pn_loop_touch(loop);
    int status = uv_signal_init(&loop->uv, &watched->handle);
    if (status == 0) {
        watched->watching = true;
        status = uv_signal_start(&watched->handle, caught, watched->number);
    }
    if (status == 0) {
        make_deliverable(watched->number);
    } else {
        close_handle(watched);
        (void)pthread_mutex_lock(&watches_lock);
        count_closed(watched); /* a callback that opened it does not hear of this, and may keep the channel */
        (void)pthread_mutex_unlock(&watches_lock);
        (void)pirn_result_fail(&request->result, status, "signal %d: %s", watched->number, uv_strerror(status));
    }
    pn_request_finish(request);
}

/* begin() finishes at once, so there is nothing to stop. */
static void stop(pn_request *request) {
    (void)request;
    PN_ASSERT(!"a signal's opening is never under way");
}

static void destroy(pn_request *request) {
    pn_free(PN_CONTAINER_OF(request, opening, request));
}

static const pn_request_kind kind = {"pirn_signal_open", begin, stop, destroy};

static void deliver_forget(pn_message *message) {
    watch *watched = PN_CONTAINER_OF(message, watch, forget);
    watched->forgotten = true;
    close_handle(watched);
    if (!watched->watching) {
        free_watch(watched);
    }
}

void pn_signal_watches_refuse(void) {
    (void)pthread_mutex_lock(&watches_lock);
    refusing = true;
    PN_LIST_EACH(&watches, node) {
        watch *watched = PN_CONTAINER_OF(node, watch, link);
        count_closed(watched);
        pirn_channel_close(watched->channel);
        close_handle(watched);
    }
    (void)pthread_mutex_unlock(&watches_lock);
}

void pn_signal_watches_fini(void) {
    refusing = false; /* nobody else is left */
    for (pn_node *node = pn_list_pop(&watches); node; node = pn_list_pop(&watches)) {
        watch *watched = PN_CONTAINER_OF(node, watch, link);
        watched->forgotten = true;
        close_handle(watched);
        if (!watched->watching) {
            free_watch(watched);
        }
    }
}

/* ---- the worker's side ---- */

/* Not those that cannot be caught, nor those that mean a fault of the program (core/stack_overflow.c tells of them),
 * nor the watchdog's own. */
static bool is_catchable(int number) {
    return number >= 1 && number <= SIGRTMAX && number != SIGKILL && number != SIGSTOP && number != SIGSEGV &&
           number != SIGBUS && number != SIGILL && number != SIGFPE && number != SIGTRAP &&
           number != PN_WATCHDOG_SIGNAL;
}

static pirn_channel *channel_for(int number) {
    char name[PN_NAME_BYTES];
    (void)snprintf(name, sizeof name, "signal %d", number);
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = name;
    options.preference = PIRN_PREFER_NEITHER; /* the reactor cannot switch to a receiver */
    options.flags = PIRN_CHANNEL_EXTERNAL;
    return pirn_channel_create_with(sizeof(int), SIGNALS_WAITING_MAX, &options);
}

/* Wait until the handler is in place; in a callback, which cannot wait, it will be soon. */
static int wait_for(pirn_deferred *opened) {
    int status = 0;
    if (pn_current()) {
        pn_firm_shield_enter();
        status = pirn_await(opened, NULL, PIRN_FOREVER);
        pn_firm_shield_leave();
    }
    pirn_deferred_release(opened);
    return status;
}

static void enlist(watch *watched) {
    (void)pthread_mutex_lock(&watches_lock);
    pn_list_append(&watches, &watched->link);
    watched->open = !refusing;
    if (watched->open) {
        pn_outside_begin();
    }
    (void)pthread_mutex_unlock(&watches_lock);
}

/* The watch of `channel`, out of the list; NULL for a channel that is none of ours. */
static watch *take_watch(const pirn_channel *channel) {
    watch *found = NULL;
    (void)pthread_mutex_lock(&watches_lock);
    PN_LIST_EACH(&watches, node) {
        watch *watched = PN_CONTAINER_OF(node, watch, link);
        if (watched->channel == channel) {
            pn_node_unlink(node);
            count_closed(watched); /* by a worker, which judges whether that was the last hope when it goes idle */
            found = watched;
            break;
        }
    }
    (void)pthread_mutex_unlock(&watches_lock);
    return found;
}

pirn_channel *pirn_signal_open(int signal_number) {
    if (!is_catchable(signal_number)) {
        return NULL;
    }
    watch *watched = pn_calloc(1, sizeof *watched);
    opening *request = pn_calloc(1, sizeof *request);
    pirn_channel *channel = watched && request ? channel_for(signal_number) : NULL;
    if (!channel) {
        pn_free(watched);
        pn_free(request);
        return NULL;
    }
    watched->number = signal_number;
    watched->channel = channel;
    watched->forget.deliver = deliver_forget;
    request->watched = watched;
    enlist(watched); /* first: the runtime's end must find whatever the reactor may have begun */
    pirn_deferred *opened = pn_request_submit(&request->request, &kind, __FILE__, __LINE__);
    if (!opened) {
        (void)take_watch(channel);
        free_watch(watched);
        pn_tasklet_was_refused();
        return NULL;
    }
    if (wait_for(opened) != 0) {
        pirn_signal_close(channel);
        return NULL;
    }
    return channel;
}

void pirn_signal_close(pirn_channel *channel) {
    watch *watched = channel ? take_watch(channel) : NULL;
    if (watched) {
        pirn_channel_close(channel);
        pn_reactor_post(&watched->forget);
    }
}
