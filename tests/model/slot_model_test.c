/* SPDX-License-Identifier: MIT
 *
 * What: the way of a socket's record between its home and its performer (the states of bridge/descriptor.h), in the
 *       explorer: the real socket.c, perform.c and descriptor.c, with a wait, a driver and a kernel of this file's own.
 * Threads of the model: the performer, and one or two homes, which read or wait for a hang-up, and may give
 *       up at any moment.
 * The kernel has the bytes 1, 2, 3... and gives one a read. A descriptor without a byte would block; the performer
 *       hears an edge when the next byte comes.
 */
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "address.h"
#include "descriptor.h"
#include "explorer.h"
#include "listener.h"
#include "live.h"
#include "runtime.h"
#include "socket.h"
#include "tasklet.h"

#define HOMES_MAX 2
#define PERFORMER 0 /* the number of its thread; homes are 1 and 2 */
#define FD        5

static pn_driver performer;
static pn_inbox home_inbox[HOMES_MAX];
static pn_sched scheds[HOMES_MAX];
static pn_tasklet tasklets[HOMES_MAX];
static pn_descriptor *descriptor;
static pirn_socket handle;
pn_runtime pn_runtime_current;

static struct {
    unsigned homes, reads; /* reads by each home */
    bool can_hang_up;      /* the peer may, at any moment */
    /* of one execution */
    unsigned char next_byte, last_read;
    bool edge, in_set, ended, hung_up;
    bool awaits_hangup; /* a home does, and */
    bool patiently;     /* does not give up */
    unsigned records, homes_left, got;
    bool done[HOMES_MAX];
} world;

/* ---- the kernel ---- */

ssize_t model_recv(int fd, void *buffer, size_t bytes, int flags);
int model_poll(struct pollfd *fds, nfds_t count, int timeout);
int model_close(int fd);

ssize_t model_recv(int fd, void *buffer, size_t bytes, int flags) {
    (void)fd;
    (void)bytes;
    (void)flags;
    model_plain_read(&descriptor->slot[PN_IN]); /* it was filled by a home */
    if (world.next_byte == 0) {
        errno = world.hung_up ? ECONNRESET : EAGAIN;
        return -1;
    }
    model_plain_write(buffer);
    *(unsigned char *)buffer = world.next_byte;
    world.last_read = world.next_byte;
    world.next_byte = 0;
    return 1;
}

int model_poll(struct pollfd *fds, nfds_t count, int timeout) {
    (void)count;
    (void)timeout;
    fds->revents = (short)((world.next_byte && (fds->events & POLLIN) ? POLLIN : 0) | (world.hung_up ? POLLHUP : 0));
    return fds->revents != 0;
}

int model_close(int fd) {
    (void)fd;
    world.ended = true;
    return 0;
}

/* ---- what is below and above the record ---- */

int pn_readiness_add(pn_readiness *set, int fd, void *tag, bool level) {
    (void)set;
    (void)fd;
    (void)tag;
    (void)level;
    world.in_set = world.edge = true; /* an added descriptor tells its present state */
    return 0;
}

void pn_readiness_remove(pn_readiness *set, int fd) {
    (void)set;
    (void)fd;
    world.in_set = false;
}

void pn_readiness_expect(pn_readiness *set, int fd, unsigned bits) {
    (void)set;
    (void)fd;
    (void)bits;
}

pn_driver *pn_driver_self(void) {
    return model_self() == PERFORMER ? &performer : NULL;
}

void pn_driver_resume_paused(pn_driver *driver) {
    (void)driver;
}

void pn_driver_hand_back(pn_driver *driver, unsigned home, pn_message *message) {
    (void)driver;
    pn_inbox_push_mpsc(&home_inbox[home], message);
}

void pn_reactor_post(pn_message *message) {
    pn_inbox_push_mpsc(&performer.port.inbox, message);
}

bool pn_doorbell_ring(pn_doorbell *bell) {
    (void)bell; /* the performer's loop looks at its inbox */
    return false;
}

void pn_listener_connection_closed(pirn_listener *listener, const struct sockaddr_in6 *peer) {
    (void)peer;
    (void)listener;
}

void pn_worker_load_add(unsigned home, int delta) {
    (void)home;
    (void)delta;
}

void pn_record_begin(void) {
    world.records++;
}

void pn_record_end(void) {
    world.records--;
}

int pn_address_parse(const char *text, struct sockaddr_storage *address, socklen_t *bytes) {
    (void)text;
    (void)address;
    (void)bytes;
    return PIRN_EINVAL;
}

void pn_address_format(const struct sockaddr *address, char *text, size_t text_bytes, bool *loopback) {
    (void)address;
    (void)text;
    (void)text_bytes;
    (void)loopback;
}

pn_sched *pn_sched_self(void) {
    return model_self() == PERFORMER ? NULL : &scheds[model_self() - 1];
}

pn_tasklet *pn_current(void) {
    return model_self() == PERFORMER ? NULL : &tasklets[model_self() - 1];
}

pirn_time pirn_now(void) {
    return 0;
}

void pn_turn(pn_place place) {
    (void)place; /* no other tasklet, no other I/O */
}

int pn_may_wait(const char *call, pirn_time deadline) {
    (void)call;
    (void)deadline;
    return 0;
}

void pn_waiter_init(pn_waiter *waiter, pn_reason reason, const void *object) {
    *waiter = (pn_waiter){.tasklet = pn_current(), .reason = reason, .object = object};
    model_plain_write(&descriptor->slot[PN_IN]); /* who makes the waiter goes on to fill the slot, which is its own */
}

void pn_waiter_complete(pn_waiter *waiter) {
    world.done[waiter->tasklet - tasklets] = true;
}

static bool has_mail(const void *inbox) {
    return ((const pn_inbox *)inbox)->top != NULL;
}

/* A wait that has its deadline at any moment, or none: both are tried. */
int pn_wait(pn_waiter *waiter, pirn_time deadline, uint32_t *clause) {
    (void)deadline;
    (void)clause;
    unsigned self = model_self() - 1;
    bool gives_up = model_choose(2) == 1;
    world.done[self] = false;
    world.patiently = !gives_up;
    if (gives_up && waiter->withdraw(waiter)) {
        return PIRN_ETIMEDOUT;
    }
    while (!world.done[self]) {
        model_block(has_mail, &home_inbox[self]);
        (void)pn_inbox_drain(&home_inbox[self]);
    }
    return 0;
}

/* ---- the threads ---- */

static void read_once(void) {
    unsigned char byte = 0;
    size_t moved;
    int error = pirn_read(handle, &byte, 1, &moved, PIRN_FOREVER);
    world.got += error == 0;
    if (error == 0) {
        model_plain_read(&byte);
        if (moved != 1 || byte == 0) {
            model_fail("a read that succeeded has no byte");
        }
    } else if (moved != 0) {
        model_fail("a read that failed tells of bytes");
    } else if (error == -ECONNRESET  ? !world.hung_up
               : error == PIRN_EBUSY ? world.homes == 1
                                     : error != PIRN_ETIMEDOUT && error != PIRN_EBADF) {
        model_fail("a read gives another error than its deadline's");
    }
}

static void await_hangup_once(void) {
    world.awaits_hangup = true;
    int error = pn_socket_await_hangup(handle, PIRN_FOREVER);
    world.awaits_hangup = false;
    if (error == -ECONNRESET ? !world.hung_up : error != PIRN_ETIMEDOUT) {
        model_fail("a wait for a hang-up ends without one");
    }
}

static void run_home(void) {
    for (unsigned i = 0; i < world.reads; i++) {
        if (world.can_hang_up) {
            await_hangup_once();
        }
        read_once();
    }
    if (--world.homes_left == 0) {
        (void)pirn_close(handle);
    }
}

/* The next byte comes once the one before was read, and with it an edge. */
static bool byte_can_come(void) {
    return world.in_set && world.next_byte == 0 && !world.hung_up;
}

static bool peer_can_hang_up(void) {
    return world.in_set && world.can_hang_up && !world.hung_up;
}

/* Else a home would wait for ever. */
static bool peer_must_hang_up(void) {
    return peer_can_hang_up() && world.awaits_hangup && world.patiently && !byte_can_come();
}

static bool performer_can_go(const void *arg) {
    (void)arg;
    return has_mail(&performer.port.inbox) || (world.in_set && world.edge) || byte_can_come() || peer_must_hang_up() ||
           world.ended;
}

static void run_performer(void) {
    while (!world.ended) {
        model_block(performer_can_go, NULL);
        if (pn_inbox_drain(&performer.port.inbox) > 0) {
            continue;
        }
        if (peer_must_hang_up() || (peer_can_hang_up() && model_choose(2) == 1)) {
            world.hung_up = true;
            pn_perform_event(&descriptor->watch, PN_READY_READ | PN_READY_HUP);
            continue;
        }
        if (byte_can_come()) {
            world.next_byte = (unsigned char)(world.last_read + 1);
            world.edge = true;
        }
        if (world.in_set && world.edge) {
            world.edge = false;
            pn_perform_event(&descriptor->watch, PN_READY_READ);
        }
    }
}

static void reset(void) {
    unsigned homes = world.homes, reads = world.reads;
    bool can_hang_up = world.can_hang_up;
    memset(&world, 0, sizeof world);
    world.can_hang_up = can_hang_up;
    world.homes = world.homes_left = homes;
    world.reads = reads;
    pn_runtime_current.reactor = &performer;
    pn_inbox_init(&performer.port.inbox);
    for (unsigned i = 0; i < HOMES_MAX; i++) {
        pn_inbox_init(&home_inbox[i]);
        scheds[i].options.id = i;
    }
    if (descriptor) { /* an execution that failed, or was the last of another test, may have left it in use */
        memset(&descriptor->slot, 0, sizeof descriptor->slot);
        descriptor->life = 0;
    }
    int error = pn_descriptor_open(FD, &performer, false, &descriptor);
    handle = pn_descriptor_handle(descriptor);
    if (error != 0) {
        abort();
    }
}

static void nothing_is_left(void) {
    if (!world.ended) {
        model_fail("the descriptor was not closed");
    }
    if (world.records != 0) {
        model_fail("a record is still counted at its home");
    }
    if (descriptor->slot[PN_IN].word != PN_SLOT_IDLE) {
        model_fail("the slot is not idle at the end");
    }
    if (world.got != world.last_read) {
        model_fail("a byte was read and given to nobody");
    }
}

/* Where long counts are divided one home and one preemption are enough: the explorer finds races by itself, and
 * sanitizers make it twenty times slower. */
static void explore(unsigned homes, unsigned reads, unsigned preemptions) {
    if (pirn_test_count(2, 1) == 1) {
        homes = 1;
        preemptions = preemptions > 2 - reads ? 2 - reads : preemptions;
    }
    model_program program = {
        .threads = homes + 1, .thread = {run_performer, run_home, run_home}, .reset = reset, .check = nothing_is_left};
    world.homes = homes;
    world.reads = reads;
    model_result result = model_explore(&program, preemptions, 50000000);
    printf("%llu executions\n", (unsigned long long)result.executions);
    cr_assert(result.failure == NULL, "%s (execution %llu)", result.failure, (unsigned long long)result.executions);
    cr_assert(result.complete, "the bound on executions was reached");
}

/* Goal: whatever the order of deadline and completion, the slot comes back, no byte is lost, and the descriptor closes.
 * Method: every execution with two preemptions of a home that reads once, may give up at any moment, and closes. */
Test(slot_model, record_comes_back_and_no_byte_is_lost, .timeout = 120) {
    explore(1, 1, 2);
}

/* Goal: the same when the next read takes over the record that the performer still has.
 * Method: every execution with one preemption of a home that reads twice, and in the long form with two. */
Test(slot_model, withdrawn_record_is_taken_over, .timeout = 240) {
    explore(1, 2, pirn_test_is_long() ? 2 : 1);
}

/* Goal: two homes that read from one descriptor get each byte once, or hear that the other one is there.
 * Method: every execution without preemptions of two homes, and in the long form with one. A wait is no preemption. */
Test(slot_model, two_homes_share_a_slot, .timeout = 240) {
    explore(2, 1, pirn_test_is_long() ? 1 : 0);
}

/* Goal: a wait for a hang-up ends by one or is given up, whatever the order, and the read after it loses no byte and
 * waits for no edge that came before.
 * Method: every execution with one preemption of a home that waits for a hang-up, reads and closes, in the long form
 *         with two; the peer hangs up at any moment. */
Test(slot_model, read_after_a_wait_for_a_hangup_is_whole, .timeout = 240) {
    world.can_hang_up = true;
    unsigned whole = pirn_test_count(2, 1) == 2 ? 1 : 0;
    explore(1, 1, pirn_test_is_long() ? 2 : whole);
    world.can_hang_up = false;
}
