/* SPDX-License-Identifier: MIT
 *
 * What: out of memory, descriptors or threads below jobs, timers, signals, names, foreign threads and sockets. Each
 *       test runs its scenario in every mode with each call failing in turn, alone and with those after it.
 */
#include "campaign.h"

#include <pirn/offload.h>
#include <pirn/reactor.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- jobs ---- */

typedef struct job {
    atomic_bool stop;
    atomic_int drops;
} job;

static int work_until_interrupted(void *arg, pirn_result *out) {
    job *j = arg;
    while (!atomic_load(&j->stop)) {
        usleep(100);
    }
    out->value = arg;
    return 0;
}

static void interrupt(void *arg) {
    atomic_store(&((job *)arg)->stop, true);
}

static void drop_argument(void *arg) {
    atomic_fetch_add(&((job *)arg)->drops, 1);
}

static int fail_with_words(void *arg, pirn_result *out) {
    (void)arg;
    return pirn_result_fail(out, PIRN_EFAILED, "as it should");
}

/* One job; its argument is dropped once, whatever became of it. */
static void do_job(pirn_pool *pool, pirn_work_fn fn, job *j, int also) {
    bool cancel = also == PIRN_ECANCELED;
    atomic_store(&j->stop, !cancel);
    atomic_store(&j->drops, 0);
    pirn_work work = {
        .pool = pool, .work = fn, .arg = j, .drop = drop_argument, .interrupt = interrupt, .name = "fault job"};
    pirn_deferred *done = pirn_offload_with(&work);
    if (done) {
        pirn_result out = {0};
        if (cancel) {
            (void)fault_expect(pirn_deferred_cancel(done), 0);
        }
        (void)fault_expect(pirn_await_take(done, &out, FAULT_PATIENCE), also);
        pirn_result_drop(&out);
    }
    for (pirn_time until = FAULT_PATIENCE; atomic_load(&j->drops) == 0;) {
        TEST_CHECK(pirn_now() < until);
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    TEST_CHECK(atomic_load(&j->drops) == 1);
}

typedef struct employer {
    pirn_pool *pool;
    job job[3];
} employer;

static int do_jobs(void *arg) {
    employer *e = arg;
    do_job(e->pool, work_until_interrupted, &e->job[0], 0);
    do_job(e->pool, work_until_interrupted, &e->job[1], PIRN_ECANCELED);
    do_job(e->pool, fail_with_words, &e->job[2], PIRN_EFAILED);
    return 0;
}

static int jobs(void *arg) {
    (void)arg;
    static employer there, here, own;
    fault_task far;
    bool began = fault_begin(&far, do_jobs, &there, fault_far());
    (void)do_jobs(&here);
    own.pool = pirn_pool_create("fault", 2, 10);
    if (own.pool) {
        (void)do_jobs(&own);
        pirn_pool_close(own.pool);
    }
    return began ? fault_end(&far) : 0;
}

Test(fault_io, jobs_end_and_drop_once) {
    /* Goal: a job ends or is refused, and its argument is dropped once either way.
     * Method: jobs that succeed, fail and are cancelled, on the runtime's pool and on one of their own. */
    fault_campaign(&(fault_scenario){.name = "jobs", .body = jobs});
}

/* ---- the reactor's services ---- */

static int count_to_three(void *arg) {
    return ++*(int *)arg == 3 ? 1 : 0;
}

static void await_and_drop(pirn_deferred *d, int also) {
    if (d) {
        pirn_result out = {0};
        (void)fault_expect(pirn_await_take(d, &out, FAULT_PATIENCE), also);
        pirn_result_drop(&out);
    }
}

static int reactor_services(void *arg) {
    int *ticks = arg;
    await_and_drop(pirn_call_later(PIRN_MILLISECOND), 0);
    pirn_deferred *never = pirn_call_later(3600 * PIRN_SECOND);
    if (never) {
        (void)fault_expect(pirn_deferred_cancel(never), 0);
        await_and_drop(never, PIRN_ECANCELED);
    }
    *ticks = 0;
    pirn_looping_call *call = pirn_looping_call_start(PIRN_MILLISECOND, true, count_to_three, ticks);
    if (call) {
        (void)fault_expect(pirn_await(pirn_looping_call_done(call), NULL, FAULT_PATIENCE), 1);
        pirn_looping_call_release(call);
    }
    await_and_drop(pirn_resolve("127.0.0.1", "80", AF_UNSPEC), 0);
    await_and_drop(pirn_resolve("localhost", "80", AF_INET), PIRN_EDNS);
    pirn_channel *signals = pirn_signal_open(SIGUSR1);
    if (signals) {
        pirn_signal_close(signals);
    }
    return 0;
}

static int services_everywhere(void *arg) {
    (void)arg;
    static int ticks_there, ticks_here;
    fault_task far;
    bool began = fault_begin(&far, reactor_services, &ticks_there, fault_far());
    (void)reactor_services(&ticks_here);
    return began ? fault_end(&far) : 0;
}

Test(fault_io, reactor_answers_every_request) {
    /* Goal: what the reactor was asked for comes, or fails with a code.
     * Method: calls later, cancelled ones, a looping call, names and signals, asked from each worker. */
    fault_campaign(&(fault_scenario){.name = "reactor's services", .body = services_everywhere});
}

/* ---- foreign threads ---- */

#define POSTS 10

typedef struct visitor {
    pirn_foreign *foreign;
    pirn_channel *posted, *spawned;
    atomic_uint spawns;
} visitor;

static int tell_spawned(void *arg) {
    int value = 1;
    return pirn_send(arg, &value, FAULT_PATIENCE);
}

static void *visit(void *arg) {
    visitor *v = arg;
    for (int i = 0; i < POSTS; i++) {
        TEST_CHECK(pirn_post(v->foreign, v->posted, &i) == 0);
        if (fault_expect(pirn_foreign_spawn(v->foreign, tell_spawned, v->spawned), 0)) {
            atomic_fetch_add(&v->spawns, 1);
        }
    }
    return NULL;
}

static int open_and_visit(visitor *v) {
    v->foreign = pirn_foreign_open();
    if (!v->foreign || !v->posted || !v->spawned) {
        return PIRN_ENOMEM;
    }
    pthread_t thread = fault_thread(visit, v);
    for (int i = 0, value; i < POSTS; i++) {
        TEST_CHECK(pirn_recv(v->posted, &value, FAULT_PATIENCE) == 0 && value == i);
    }
    pthread_join(thread, NULL);
    /* A tasklet that finds no memory when it arrives, or no stack, is reported. */
    for (unsigned heard = 0; heard + fault_reports() < v->spawns;) {
        int value, status = pirn_recv(v->spawned, &value, pirn_after(5 * PIRN_MILLISECOND));
        TEST_CHECK(status == 0 || status == PIRN_ETIMEDOUT);
        heard += status == 0;
    }
    return 0;
}

static int foreigners(void *arg) {
    (void)arg;
    visitor v = {.posted = pirn_channel_create(sizeof(int), POSTS), .spawned = pirn_channel_create(sizeof(int), POSTS)};
    int status = open_and_visit(&v);
    pirn_foreign_close(v.foreign);
    pirn_channel_destroy(v.posted);
    pirn_channel_destroy(v.spawned);
    return status;
}

Test(fault_io, foreign_thread_is_heard) {
    /* Goal: a post never fails for want of memory, a spawn says so.
     * Method: a thread of the test's posts into a channel with room and spawns. */
    fault_campaign(&(fault_scenario){.name = "foreign thread", .body = foreigners});
}

/* ---- sockets ---- */

static int echo(pirn_socket socket, void *context) {
    (void)context;
    char bytes[64];
    size_t moved;
    int status;
    while ((status = pirn_read(socket, bytes, sizeof bytes, &moved, FAULT_PATIENCE)) == 0 && moved > 0) {
        status = pirn_write(socket, bytes, moved, NULL, FAULT_PATIENCE);
        TEST_CHECK(status == 0);
    }
    TEST_CHECK(status == 0 || status == -ECONNRESET || status == PIRN_ECANCELED);
    (void)pirn_close(socket);
    return 0;
}

/* The server may have to hang up when it finds no memory for the connection. */
static int talk(void *arg) {
    char address[32], answer[4];
    snprintf(address, sizeof address, "127.0.0.1:%d", *(int *)arg);
    pirn_socket socket;
    if (!fault_expect(pirn_connect(address, &socket, FAULT_PATIENCE), -ECONNRESET)) {
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        size_t moved = 0;
        if (!fault_expect(pirn_write(socket, "ping", 4, NULL, FAULT_PATIENCE), -EPIPE) ||
            !fault_expect(pirn_read(socket, answer, sizeof answer, &moved, FAULT_PATIENCE), -ECONNRESET) ||
            moved == 0) {
            break;
        }
        TEST_CHECK(moved == 4 && memcmp(answer, "ping", 4) == 0);
    }
    TEST_CHECK(pirn_close(socket) == 0);
    return 0;
}

static int sockets(void *arg) {
    (void)arg;
    pirn_listener *listener;
    if (!fault_expect(pirn_listen("127.0.0.1:0", NULL, &listener), 0)) {
        return 0;
    }
    if (fault_expect(pirn_serve(listener, "echo", echo, NULL), 0)) {
        static int port;
        fault_task far;
        port = pirn_listener_port(listener);
        bool began = fault_begin(&far, talk, &port, fault_far());
        (void)talk(&port);
        (void)talk(&port);
        TEST_CHECK(!began || fault_end(&far) == 0);
    }
    pirn_listener_close(listener);
    return 0;
}

Test(fault_io, sockets_echo_or_hang_up) {
    /* Goal: a connection echoes, or is refused with a code or a hang-up: nobody waits for ever.
     * Method: connections from each worker to an echo server. */
    fault_campaign(&(fault_scenario){.name = "sockets", .body = sockets, .runs = 12});
}
