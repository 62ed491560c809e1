/* SPDX-License-Identifier: MIT
 *
 * What: a turn of bridge/driver.c in the explorer, with the real inbox and doorbell: drains that leave a part of the
 *       messages, and the way to sleep.
 * Threads of the model: the owner, whose `hurry` is always raised, so that each drain delivers one message; and one or
 *       two that post.
 * What is shown: no message waits over a sleep, be it taken from the inbox or not: the judge of deadlocks relies on
 *       that (bridge/deadlock.c); and the order of each sender holds.
 */
#include "test.h"

#include "descriptor.h"
#include "driver.h"
#include "explorer.h"
#include "listener.h"
#include "runtime.h"
#include "watchdog_sleep.h"

#define OWNER         0
#define MESSAGES_MAX  4
#define FROM_A_SENDER 2

static pn_driver driver;
static pn_sched sched;
static pn_message messages[MESSAGES_MAX];
static int payload[MESSAGES_MAX];
pn_runtime pn_runtime_current;

static struct {
    unsigned senders; /* of this test */
    /* of one execution */
    unsigned rung, heard, received;
    bool got[MESSAGES_MAX];
} world;

/* ---- the eventfd of doorbell.c (CMakeLists.txt renames its calls to these) ---- */

int model_eventfd(unsigned first, int flags);
ssize_t model_write(int fd, const void *buffer, size_t bytes);
int model_close(int fd);

int model_eventfd(unsigned first, int flags) {
    (void)first;
    (void)flags;
    return 3;
}

ssize_t model_write(int fd, const void *buffer, size_t bytes) {
    (void)fd;
    (void)buffer;
    world.rung++;
    return (ssize_t)bytes;
}

int model_close(int fd) {
    (void)fd;
    return 0;
}

/* ---- what is below and above the driver ---- */

int pn_readiness_init(pn_readiness *set) {
    (void)set;
    return 0;
}

void pn_readiness_fini(pn_readiness *set) {
    (void)set;
}

int pn_readiness_add(pn_readiness *set, int fd, void *tag, bool level) {
    (void)set;
    (void)fd;
    (void)tag;
    (void)level;
    return 0;
}

int pn_readiness_add_bell(pn_readiness *set, int fd, void *tag) {
    (void)set;
    (void)fd;
    (void)tag;
    return 0;
}

static bool bell_was_written(const void *arg) {
    (void)arg;
    return world.rung > world.heard;
}

int pn_readiness_wait(pn_readiness *set, pn_ready_event *events, pirn_time deadline) {
    (void)set;
    (void)events;
    if (deadline == PIRN_FOREVER) {
        model_block(bell_was_written, NULL);
    }
    world.heard = world.rung;
    return 0;
}

void pn_watchdog_notice(void) {
}

void pn_perform_again(pn_node *again_link) {
    (void)again_link;
}

void pn_acceptor_resume(pn_node *node) {
    (void)node;
}

pn_worker *pn_worker_self(void) {
    return NULL;
}

pn_sched *pn_sched_self(void) {
    return model_self() == OWNER ? &sched : NULL;
}

static pirn_time now(void) {
    return 0;
}

static const pn_hooks hooks = {.now = now};
const pn_hooks *pn_below = &hooks;

/* ---- the threads ---- */

static void deliver(pn_message *message) {
    size_t number = (size_t)(message - messages);
    model_plain_read(&payload[number]);
    if (number % FROM_A_SENDER > 0 && !world.got[number - 1]) {
        model_fail("a message overtakes one of its own sender");
    }
    world.got[number] = true;
    world.received++;
}

static void look_before_the_sleep(pn_driver *asleep, bool begins) {
    if (begins && asleep->port.inbox.waiting) {
        model_fail("a message that was taken waits over a sleep");
    }
}

static void run_owner(void) {
    while (world.received < world.senders * FROM_A_SENDER) {
        pn_driver_turn(&driver, PIRN_FOREVER);
    }
}

static void run_sender(void) {
    unsigned first = (model_self() - 1) * FROM_A_SENDER;
    for (unsigned i = first; i < first + FROM_A_SENDER; i++) {
        model_plain_write(&payload[i]);
        pn_port_post(&driver.port, &messages[i]);
    }
}

static void reset(void) {
    unsigned senders = world.senders;
    memset(&world, 0, sizeof world);
    world.senders = senders;
    memset(messages, 0, sizeof messages);
    for (unsigned i = 0; i < MESSAGES_MAX; i++) {
        messages[i].deliver = deliver;
    }
    (void)pn_driver_init(&driver, false);
    driver.on_sleep = look_before_the_sleep;
    pn_flag_raise(&sched.hurry);
}

static void explore(unsigned senders, unsigned preemptions) {
    model_program program = {
        .threads = senders + 1, .thread = {run_owner, run_sender, run_sender}, .reset = reset, .check = NULL};
    world.senders = senders;
    model_result result = model_explore(&program, preemptions, 50000000);
    printf("%llu executions\n", (unsigned long long)result.executions);
    cr_assert(result.failure == NULL, "%s (execution %llu)", result.failure, (unsigned long long)result.executions);
    cr_assert(result.complete, "the bound on executions was reached");
    cr_assert_gt(result.executions, 10);
}

/* Goal: drains that leave a part lose no wake-up and no order, and nothing waits over a sleep.
 * Method: every execution of the owner's turns and a sender of two messages with three preemptions; with two where long
 *         counts are divided. */
Test(driver_model, part_that_a_drain_leaves_is_not_slept_over, .timeout = 240) {
    explore(1, pirn_test_count(2, 1) == 2 ? 3 : 2);
}

/* Goal: the same for two senders, whose messages one take may find together.
 * Method: every execution with one preemption; without where long counts are divided. */
Test(driver_model, two_senders_lose_nothing_to_partial_drains, .timeout = 240) {
    explore(2, pirn_test_count(2, 1) == 2 ? 1 : 0);
}
