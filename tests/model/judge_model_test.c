/* SPDX-License-Identifier: MIT
 *
 * What: the judge of total deadlocks (bridge/deadlock.c) in the explorer: no report while a message is on its way, and
 *       a report once nothing is.
 * Threads of the model: the workers. A message hops between them and ends after some hops; then all of them sleep, and
 *       one must have judged.
 */
#include "test.h"

#include "deadlock.h"
#include "explorer.h"
#include "live.h"
#include "report.h"
#include "runtime.h"
#include "tasklet.h"

#define WORKERS_MAX 3

pn_runtime pn_runtime_current;

static pn_worker workers[WORKERS_MAX];
static pn_tasklet main_tasklet;
static pn_waiter main_waiter;
static pn_message token;

static struct {
    unsigned workers, hops; /* of this test */
    /* of one execution */
    unsigned hops_left;
    bool token_ended, over;
    unsigned rung[WORKERS_MAX], heard[WORKERS_MAX];
} world;

/* ---- the eventfds of doorbell.c (CMakeLists.txt renames its calls to these) ---- */

int model_eventfd(unsigned first, int flags);
ssize_t model_write(int fd, const void *buffer, size_t bytes);
int model_close(int fd);

static unsigned opened;

int model_eventfd(unsigned first, int flags) {
    (void)first;
    (void)flags;
    return (int)(opened++ % WORKERS_MAX);
}

ssize_t model_write(int fd, const void *buffer, size_t bytes) {
    (void)buffer;
    world.rung[fd]++;
    return (ssize_t)bytes;
}

int model_close(int fd) {
    (void)fd;
    return 0;
}

/* ---- what is below and above the judge ---- */

uint64_t pn_outside_count(void) {
    return 0;
}

void pn_report_init(pn_report *report) {
    (void)report;
}

void pn_report_add_all(pn_report *report, pn_sched *sched) {
    (void)report;
    (void)sched;
}

void pn_report_print_total(const pn_report *report, pirn_time now) {
    (void)report;
    (void)now;
    world.over = true;
}

bool pn_waiter_strike(pn_waiter *waiter, int code) {
    (void)waiter;
    (void)code;
    return false; /* main's next turn is not modelled */
}

void pn_ready(pn_tasklet *tasklet) {
    (void)tasklet;
}

static pirn_time now(void) {
    return 0;
}

static void post(unsigned home, pn_message *message) {
    if (message != &token && !world.token_ended) {
        model_fail("a deadlock is reported while a message is on its way");
    }
    if (home == model_self()) {
        pn_inbox_push_mpsc(&workers[home].driver.port.inbox, message);
    } else {
        pn_port_post(&workers[home].driver.port, message);
    }
}

static const pn_hooks hooks = {.now = now, .post = post};
const pn_hooks *pn_below = &hooks;

/* ---- the workers ---- */

static void deliver_token(pn_message *message) {
    unsigned self = model_self();
    workers[self].sched.counts.switches++; /* it wakes a tasklet, which sends it on */
    if (world.hops_left == 0) {
        world.token_ended = true;
        return;
    }
    world.hops_left--;
    post((self + 1) % world.workers, message);
}

static bool can_wake(const void *arg) {
    unsigned self = (unsigned)(uintptr_t)arg;
    return world.rung[self] > world.heard[self] || world.over;
}

/* The driver's turn: drain, announce, judge, look again, sleep. */
static void run_worker(void) {
    unsigned self = model_self();
    pn_worker *worker = &workers[self];
    while (!world.over) {
        if (pn_inbox_drain(&worker->driver.port.inbox) > 0) {
            continue;
        }
        pn_doorbell_sleep(&worker->driver.port.bell);
        pn_idle_begin(worker);
        if (pn_inbox_empty(&worker->driver.port.inbox)) {
            model_block(can_wake, (const void *)(uintptr_t)self);
            world.heard[self] = world.rung[self];
        }
        pn_doorbell_wake(&worker->driver.port.bell);
        pn_idle_end(worker);
    }
}

static void reset(void) {
    unsigned count = world.workers, hops = world.hops;
    memset(&world, 0, sizeof world);
    world.workers = count;
    world.hops = world.hops_left = hops;
    memset(workers, 0, sizeof workers);
    pn_runtime_current.workers = workers;
    pn_runtime_current.worker_count = count;
    main_tasklet.state = PN_PARKED;
    main_tasklet.waiter = &main_waiter;
    workers[0].sched.main = &main_tasklet;
    opened = 0;
    for (unsigned i = 0; i < count; i++) {
        pn_inbox_init(&workers[i].driver.port.inbox);
        (void)pn_doorbell_init(&workers[i].driver.port.bell);
        workers[i].sched.options.id = i;
        workers[i].sched.counts.holds_drain = 1;
    }
    token.deliver = deliver_token;
    pn_inbox_push_mpsc(&workers[count - 1].driver.port.inbox, &token);
}

static void explore(unsigned count, unsigned hops, unsigned preemptions) {
    model_program program = {
        .threads = count, .thread = {run_worker, run_worker, run_worker}, .reset = reset, .check = NULL};
    world.workers = count;
    world.hops = hops;
    model_result result = model_explore(&program, preemptions, 50000000);
    printf("%llu executions\n", (unsigned long long)result.executions);
    cr_assert(result.failure == NULL, "%s (execution %llu)", result.failure, (unsigned long long)result.executions);
    cr_assert(result.complete, "the bound on executions was reached");
}

/* Goal: no report before the message has ended, and then one, whichever worker goes idle last.
 * Method: every execution of two workers between which a message hops once or twice, with two preemptions; with one
 *       where long counts are divided. */
Test(judge_model, two_workers_agree_when_all_is_over, .timeout = 240) {
    unsigned preemptions = pirn_test_count(2, 1) == 2 ? 2 : 1;
    explore(2, 1, preemptions);
    explore(2, 2, preemptions);
}

/* Goal: the same with a worker that only sleeps between those that pass the message on.
 * Method: every execution of three workers with one preemption; without where long counts are divided. */
Test(judge_model, three_workers_agree_when_all_is_over, .timeout = 240) {
    explore(3, 1, pirn_test_count(2, 1) == 2 ? 1 : 0);
}
