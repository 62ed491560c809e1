/* SPDX-License-Identifier: MIT
 *
 * What: pirn_run: sets the stage for the main tasklet in either mode, and clears it.
 *
 * Threads: the calling thread starts and joins the others; in single mode it is worker 0 and runs the reactor's turns
 *       too.
 * States of a participant (worker or reactor thread): starting -> waits at the start gate -> runs -> waits at the end
 *       gate -> gone.
 * Invariants: (1) nobody runs before all have been set up, and if one could not be, nobody runs at all; (2) nobody
 *       takes its inbox, doorbell or scheduler apart before all have left their loops: who posts the last message to a
 *       thread still touches that thread's doorbell after the message was delivered.
 * Lifetime: pn_runtime_current is filled in before the start gate opens and zeroed after the last join.
 */
#include "runtime.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "call.h"
#include "deadline.h"
#include "foreign.h"
#include "listener.h"
#include "offload.h"
#include "options.h"
#include "reactor.h"
#include "reserve.h"
#include "shutdown.h"
#include "thread.h"
#include "watchdog.h"

/* Where participants wait until the caller of pirn_run lets them all go on. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned arrived;
    bool open;
    int status; /* the first error that anybody came with                                              */
} gate;

typedef struct run {
    pirn_fn fn;
    void *arg;
    int result;        /* main's; worker 0 only, and the caller after the join                         */
    bool main_has_run; /* worker 0                                                                      */
    /* worker 0: the bound of main's clean-ups */
    pn_tasklet *main;
    pn_timer overdue;
    int64_t overdue_again_ns;
    gate start, end;
} run;

/* ---- gates ---- */

static void gate_init(gate *g) {
    *g = (gate){.open = false};
    PN_ASSERT(pthread_mutex_init(&g->lock, NULL) == 0 && pthread_cond_init(&g->changed, NULL) == 0);
}

static void gate_fini(gate *g) {
    (void)pthread_cond_destroy(&g->changed);
    (void)pthread_mutex_destroy(&g->lock);
}

static void note_status(gate *g, int status) {
    if (g->status == 0) {
        g->status = status;
    }
}

/* A participant has come so far, with `status`. Returns the status of all when the gate opens. */
static int gate_pass(gate *g, int status) {
    (void)pthread_mutex_lock(&g->lock);
    note_status(g, status);
    g->arrived++;
    (void)pthread_cond_broadcast(&g->changed);
    while (!g->open) {
        (void)pthread_cond_wait(&g->changed, &g->lock);
    }
    int all = g->status;
    (void)pthread_mutex_unlock(&g->lock);
    return all;
}

/* The caller: wait until `count` have come. Returns their status. */
static int gate_wait(gate *g, unsigned count) {
    (void)pthread_mutex_lock(&g->lock);
    while (g->arrived < count) {
        (void)pthread_cond_wait(&g->changed, &g->lock);
    }
    int all = g->status;
    (void)pthread_mutex_unlock(&g->lock);
    return all;
}

static void gate_open(gate *g, int status) {
    (void)pthread_mutex_lock(&g->lock);
    note_status(g, status);
    g->open = true;
    (void)pthread_cond_broadcast(&g->changed);
    (void)pthread_mutex_unlock(&g->lock);
}

/* ---- the main tasklet ---- */

/* Main's code goes to pirn_run's caller; its words, if it said why with pirn_fail, are told here, or nobody would hear
 * them. */
static void tell_words_of_main(int result) {
    const pirn_failure *failure = pn_current()->failure;
    char text[300];
    if (result < 0 && pirn_failure_code(failure) == result) { /* another code: an older failure that main handled */
        (void)pirn_failure_format(failure, text, sizeof text);
        pn_report_error(pn_sched_self(), result, "main ended with %s", text);
    }
}

/* The time of main's clean-ups is over: their waits end though they are shielded; then they end where they wait. */
static void cleanups_overdue(pn_timer *timer) {
    run *r = PN_CONTAINER_OF(timer, run, overdue);
    pn_sched *sched = pn_sched_self();
    bool first = sched->main_stage == PN_GOING;
    sched->main_stage = first ? PN_FINAL : PN_FORCED;
    pn_warn("main has returned: its clean-ups (pirn_on_exit) still run, and %s",
            first ? "their waits end now" : "end now");
    if (first) {
        pn_timer_arm(&sched->timers, timer, pirn_after(r->overdue_again_ns), cleanups_overdue);
    }
    pn_tasklet_strike(r->main, PIRN_ECANCELED, true, false);
}

static void main_ended(void *arg);

static void bound_cleanups(run *r) {
    const pirn_options *options = &pn_runtime_current.options;
    pn_shutdown_begin_bound();
    r->main = pn_current();
    if (r->main->cleanups->fn != main_ended) {
        pirn_time deadline = pn_deadline(pirn_after(options->drain_ns), options->end_ns);
        r->overdue_again_ns = options->end_ns / 5;
        pn_timer_arm(&pn_sched_self()->timers, &r->overdue, deadline, cleanups_overdue);
    }
}

static int main_body(void *arg) {
    run *r = arg;
    r->main_has_run = true;
    r->result = r->fn(r->arg);
    tell_words_of_main(r->result);
    bound_cleanups(r);
    return r->result;
}

/* Its last clean-up: what main registered with pirn_on_exit has run before, while everything still worked. Also runs
 * when there was no memory for main's stack. */
static void main_ended(void *arg) {
    run *r = arg;
    if (r->main_has_run) {
        pn_timer_disarm(&pn_sched_self()->timers, &r->overdue);
        pn_sched_self()->main_stage = PN_GOING; /* the rest of main is the shutdown */
        pn_shutdown();
    } else {
        r->result = PIRN_ENOMEM;
        pn_shutdown_unused();
    }
}

static void spawn_main(run *r) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = "main";
    pn_ending ending = {.fn = main_ended, .arg = r};
    pn_tasklet *tasklet = pn_call_spawn(&options, main_body, r, &ending, __FILE__, __LINE__);
    if (!tasklet) {
        main_ended(r);
        return;
    }
    tasklet->is_main = true;
    pn_sched_self()->main = tasklet;
}

/* ---- what stands beside workers and reactor ---- */

/* `signals`: NULL, or the mask of the thread that became worker 0. */
static int start_services(const sigset_t *signals) {
    const pirn_options *options = &pn_runtime_current.options;
    int status = pn_offload_start(options->offload_threads, options->offload_max);
    if (status != 0) {
        return status;
    }
    status = pn_foreign_start();
    pn_listeners_start();
    if (status == 0) {
        status = pn_watchdog_start(options->slice_warn_ns, signals);
    }
    if (status != 0) {
        pn_foreign_stop();
        pn_offload_stop(PIRN_FOREVER); /* nothing has run: its threads are idle */
    }
    return status;
}

/* ---- threaded mode ---- */

typedef struct participant {
    run *run;
    unsigned id;
} participant;

static void *worker_main(void *arg) {
    const participant *p = arg;
    run *r = p->run;
    pn_worker *worker = &pn_runtime_current.workers[p->id];
    int status = pn_worker_init(worker, p->id);
    if (gate_pass(&r->start, status) == 0) {
        if (p->id == 0) {
            spawn_main(r);
        }
        pn_sched_run(&worker->sched);
        (void)gate_pass(&r->end, 0);
    }
    if (status == 0) {
        pn_worker_fini(worker);
    }
    return NULL;
}

static void *reactor_main(void *arg) {
    run *r = arg;
    int status = pn_reactor_open(NULL, pn_runtime_current.options.poll == PIRN_POLL_REACTOR);
    if (status == 0) {
        pn_runtime_current.reactor = pn_reactor_current.driver;
    }
    if (gate_pass(&r->start, status) == 0) {
        pn_reactor_run();
        (void)gate_pass(&r->end, 0);
    }
    if (status == 0) {
        pn_reactor_close();
    }
    return NULL;
}

/* Start workers until one cannot be started. */
static int start_workers(participant *participants, run *r) {
    for (unsigned i = 0; i < pn_runtime_current.worker_count; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "worker-%u", i);
        participants[i] = (participant){.run = r, .id = i};
        pn_worker *worker = &pn_runtime_current.workers[i];
        int status = pn_thread_start(&worker->thread, PN_WORKER, name, worker_main, &participants[i]);
        if (status != 0) {
            return status;
        }
        worker->started = true;
    }
    return 0;
}

static unsigned count_started(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < pn_runtime_current.worker_count; i++) {
        count += pn_runtime_current.workers[i].started;
    }
    return count;
}

static int run_threaded(run *r) {
    participant participants[PN_WORKERS_MAX];
    pthread_t reactor;
    int status = pn_thread_start(&reactor, PN_REACTOR, "reactor-0", reactor_main, r);
    if (status != 0) {
        return status;
    }
    /* One after the other: if the reactor cannot be had, no worker need start. */
    status = gate_wait(&r->start, 1);
    if (status == 0) {
        status = start_workers(participants, r);
    }
    unsigned started = count_started() + 1;
    int arrived = gate_wait(&r->start, started);
    status = status != 0 ? status : arrived;
    if (status == 0) {
        status = start_services(NULL);
    }
    gate_open(&r->start, status);
    if (status == 0) {
        (void)gate_wait(&r->end, started);
        gate_open(&r->end, 0);
    }
    for (unsigned i = 0; i + 1 < started; i++) {
        (void)pthread_join(pn_runtime_current.workers[i].thread, NULL);
    }
    (void)pthread_join(reactor, NULL);
    return status;
}

/* ---- single mode ---- */

typedef struct borrowed_thread {
    sigset_t mask;
    bool pipe_was_pending;
} borrowed_thread;

/* The calling thread becomes worker 0, and blocks what a worker blocks: the watchdog takes the process' signals.
 * Without a watchdog there is nobody else who could, and only a broken pipe, an error code here, is blocked. */
static void borrow_thread(borrowed_thread *before) {
    sigset_t blocked, watchdog, pending;
    if (pn_runtime_current.options.slice_warn_ns == PIRN_FOREVER) {
        (void)sigemptyset(&blocked);
        (void)sigaddset(&blocked, SIGPIPE);
    } else {
        pn_thread_mask(PN_WORKER, &blocked);
    }
    (void)sigemptyset(&watchdog);
    (void)sigaddset(&watchdog, PN_WATCHDOG_SIGNAL);
    (void)sigpending(&pending);
    before->pipe_was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &blocked, &before->mask);
    (void)pthread_sigmask(SIG_UNBLOCK, &watchdog, NULL);
    pn_thread_set_role(PN_WORKER);
}

static void give_thread_back(const borrowed_thread *before) {
    sigset_t pipe;
    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    if (!before->pipe_was_pending) {
        static const struct timespec at_once;
        (void)sigtimedwait(&pipe, NULL, &at_once); /* ours, or it would kill the caller when it is unblocked */
    }
    (void)pthread_sigmask(SIG_SETMASK, &before->mask, NULL);
    pn_thread_set_role(PN_FOREIGN);
}

static int run_single(run *r) {
    pn_worker *worker = &pn_runtime_current.workers[0];
    borrowed_thread before;
    borrow_thread(&before);
    worker->thread = pthread_self();
    worker->started = true;
    int status = pn_worker_init(worker, 0);
    if (status != 0) {
        goto no_worker;
    }
    pn_runtime_current.reactor = &worker->driver;
    status = pn_reactor_open(&worker->driver, true);
    if (status != 0) {
        goto no_reactor;
    }
    status = start_services(&before.mask);
    if (status == 0) {
        spawn_main(r);
        pn_sched_run(&worker->sched);
    }
    pn_reactor_close();
no_reactor:
    pn_worker_fini(worker);
no_worker:
    give_thread_back(&before);
    return status;
}

/* ---- the call ---- */

static pthread_mutex_t running_lock = PTHREAD_MUTEX_INITIALIZER;
static bool running;

static bool claim_running(void) {
    (void)pthread_mutex_lock(&running_lock);
    bool free_before = !running;
    running = true;
    (void)pthread_mutex_unlock(&running_lock);
    return free_before;
}

static void release_running(void) {
    (void)pthread_mutex_lock(&running_lock);
    running = false;
    (void)pthread_mutex_unlock(&running_lock);
}

static int run_all(const pirn_options *options, run *r) {
    unsigned count = options->workers;
    pn_worker *workers = pn_aligned_alloc(_Alignof(pn_worker), count * sizeof *workers);
    if (!workers) {
        return PIRN_ENOMEM;
    }
    memset(workers, 0, count * sizeof *workers);
    static uint32_t run_count; /* of those who claimed `running` */
    run_count = run_count == UINT32_MAX ? 1 : run_count + 1;
    pn_runtime_current = (pn_runtime){.options = *options, .run = run_count, .worker_count = count, .workers = workers};
    gate_init(&r->start);
    gate_init(&r->end);
    int status = options->mode == PIRN_MODE_SINGLE ? run_single(r) : run_threaded(r);
    gate_fini(&r->start);
    gate_fini(&r->end);
    pn_descriptors_end_all();
    pn_runtime_current = (pn_runtime){.worker_count = 0};
    pn_free(workers);
    return status != 0 ? status : r->result;
}

/* A program may be started with some of 0, 1 and 2 closed. Then our descriptors would get these numbers, and the first
 * line that somebody prints would ring a doorbell; libuv refuses to close such a one with an abort. Returns the lowest
 * number that is free then. */
static int hold_standard_descriptors(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        (void)close(fd);
    }
    return fd < 0 ? 0 : fd;
}

static char workers_reason[sizeof((pirn_runtime_info *)0)->workers_reason]; /* of the runtime that runs */

int pirn_run(const pirn_options *options, pirn_fn main_fn, void *arg) {
    pirn_options resolved;
    int status = pn_options_resolve(options, &resolved);
    if (status != 0) {
        return status;
    }
    if (!main_fn) {
        pn_warn("pirn_run() without a main function");
        return PIRN_EINVAL;
    }
    if (!claim_running()) {
        return PIRN_EALREADY;
    }
    int lowest_free = hold_standard_descriptors();
    pn_reserve_setup();
    pn_options_explain_workers(options, resolved.workers, workers_reason, sizeof workers_reason);
    status = pn_stack_setup(resolved.guard);
    status = status != 0 ? status : pn_descriptors_start(lowest_free);
    if (status == 0) {
        run r = {.fn = main_fn, .arg = arg};
        status = run_all(&resolved, &r);
    }
    release_running();
    return status;
}

int pirn_runtime_describe(pirn_runtime_info *info) {
    if (pn_below->enter(0) == 0) { /* it neither starts nor ends while we read it */
        return PIRN_ETHREAD;
    }
    const pn_runtime *runtime = &pn_runtime_current;
    *info = (pirn_runtime_info){
        .mode = runtime->options.mode,
        .poll = runtime->options.poll,
        .workers = runtime->worker_count,
        .guard = pn_stack_guard(),
        .guards_exhausted = pn_stack_guards_exhausted(),
        .stack_bytes = runtime->options.stack_bytes,
    };
    memcpy(info->workers_reason, workers_reason, sizeof workers_reason);
    pn_below->leave();
    return 0;
}
