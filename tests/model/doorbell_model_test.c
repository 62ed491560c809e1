/* SPDX-License-Identifier: MIT
 *
 * What: bridge/doorbell.c and bridge/lf_stack_c11.c in the explorer: no wake-up is lost in any order of the operations
 *       and with any value that a relaxed load may see. Here a missing fence fails on every machine; on x86-64 the
 *       ringer's fence could be dropped without effect, since the push is a locked instruction there.
 */
#include "test.h"

#include "explorer.h"
#include "inbox.h"
#include "port.h"

static pn_port port;
static pn_message messages[2];
static int payload[2];
static unsigned rung, heard, received;

/* The eventfd of doorbell.c (CMakeLists.txt renames its calls to these). */
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
    rung++;
    return (ssize_t)bytes;
}

int model_close(int fd) {
    (void)fd;
    return 0;
}

static void deliver(pn_message *message) {
    model_plain_read(&payload[message - messages]);
    received++;
}

static void reset(void) {
    memset(messages, 0, sizeof messages);
    messages[0].deliver = messages[1].deliver = deliver;
    rung = heard = received = 0;
    pn_inbox_init(&port.inbox);
    (void)pn_doorbell_init(&port.bell);
}

static bool bell_was_written(const void *arg) {
    (void)arg;
    return rung > heard;
}

/* The driver's way to sleep: announce, look again, sleep. An edge that came late ends the next sleep at once. */
static void receive(unsigned count) {
    while (received < count) {
        if (pn_inbox_drain(&port.inbox) > 0) {
            continue;
        }
        pn_doorbell_sleep(&port.bell);
        if (pn_inbox_empty(&port.inbox)) {
            model_block(bell_was_written, NULL);
            heard = rung;
        }
        pn_doorbell_wake(&port.bell);
    }
}

static void receive_one(void) {
    receive(1);
}

static void receive_two(void) {
    receive(2);
}

static void post_first(void) {
    model_plain_write(&payload[0]);
    pn_port_post(&port, &messages[0]);
}

static void post_second(void) {
    model_plain_write(&payload[1]);
    pn_port_post(&port, &messages[1]);
}

static void post_both(void) {
    post_first();
    post_second();
}

static void every_write_was_for_a_sleep(void) {
    if (rung < port.bell.rung_count) {
        model_fail("the owner counts more wakes than there were writes");
    }
}

static void explore(const model_program *program, unsigned preemptions) {
    model_result result = model_explore(program, preemptions, 20000000);
    printf("%llu executions\n", (unsigned long long)result.executions);
    cr_assert(result.failure == NULL, "%s (execution %llu)", result.failure, (unsigned long long)result.executions);
    cr_assert(result.complete, "the bound on executions was reached");
    cr_assert_gt(result.executions, 10);
}

/* Goal: a message wakes its receiver, whichever of the two is first, and what was written before it is seen.
 * Method: every execution of one sleeper and one ringer with three preemptions. */
Test(doorbell_model, one_ringer_wakes_the_sleeper) {
    model_program program = {
        .threads = 2, .thread = {receive_one, post_first}, .reset = reset, .check = every_write_was_for_a_sleep};
    explore(&program, 3);
}

/* Goal: a second message right after the first is not lost while the sleeper comes back from the first.
 * Method: every execution of one sleeper and a ringer of two messages with three preemptions. */
Test(doorbell_model, second_message_of_a_ringer_arrives, .timeout = 120) {
    model_program program = {
        .threads = 2, .thread = {receive_two, post_both}, .reset = reset, .check = every_write_was_for_a_sleep};
    explore(&program, 3);
}

/* Goal: of two ringers that race neither message is lost, though only one of them writes.
 * Method: every execution of one sleeper and two ringers with two preemptions. */
Test(doorbell_model, two_ringers_lose_nothing, .timeout = 120) {
    model_program program = {.threads = 3,
                             .thread = {receive_two, post_first, post_second},
                             .reset = reset,
                             .check = every_write_was_for_a_sleep};
    explore(&program, 2);
}
