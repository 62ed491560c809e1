/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/loop.c: libuv as the guest of a driver, on the test's own thread.
 */
#include "engine.h"
#include "loop.h"
#include "worker.h"

static pn_driver driver;
static pn_loop *loop;
static unsigned fired;
/* Closed in the loop's last turn, after the test's body: so not on its stack. */
static uv_timer_t timer;
static uv_poll_t poll_handle;

static void setup(void) {
    pn_below = &pn_hooks_threads;
    cr_assert_eq(pn_driver_init(&driver, false), 0);
    cr_assert_eq(pn_loop_create(&loop), 0);
    cr_assert_eq(pn_driver_set_companion(&driver, &loop->companion), 0);
    fired = 0;
}

static void teardown(void) {
    pn_loop_destroy(loop);
    pn_driver_fini(&driver);
}

/* Turns that may sleep, until `fired` is `wanted`. Returns how many it took. */
static unsigned turn_until(unsigned wanted) {
    unsigned turns = 0;
    while (fired < wanted) {
        pn_driver_turn(&driver, PIRN_FOREVER);
        turns++;
    }
    return turns;
}

static void timer_fired(uv_timer_t *handle) {
    (void)handle;
    fired++;
}

/* Goal: a timer started outside of libuv's turn is slept for, not spun for, and never fires early.
 * Method: several deadlines at odd nanoseconds; compare the clock, and count the turns it took. */
Test(loop, timer_is_slept_for_and_never_early, .init = setup, .fini = teardown) {
    cr_assert_eq(uv_timer_init(&loop->uv, &timer), 0);
    for (unsigned i = 1; i <= 10; i++) {
        pirn_time deadline = pirn_after((int64_t)i * 1234567);
        pn_loop_touch(loop);
        cr_assert_eq(uv_timer_start(&timer, timer_fired, pn_loop_timeout_ms(loop, deadline), 0), 0);
        unsigned turns = turn_until(i);
        cr_assert_geq(pirn_now(), deadline);
        cr_assert_leq(turns, 10, "%u turns for one timer", turns);
    }
    uv_close((uv_handle_t *)&timer, NULL);
}

/* Goal: deadlines at the ends of the range make sense.
 * Method: one that is past gives 0, PIRN_FOREVER more than a century. */
Test(loop, timeout_of_extreme_deadlines, .init = setup, .fini = teardown) {
    pn_loop_touch(loop);
    cr_assert_eq(pn_loop_timeout_ms(loop, 0), 0);
    cr_assert_eq(pn_loop_timeout_ms(loop, pirn_now() - 10 * PIRN_MILLISECOND), 0);
    cr_assert_gt(pn_loop_timeout_ms(loop, PIRN_FOREVER), (uint64_t)100 * 365 * 86400 * 1000);
}

static int pipe_ends[2];

static void pipe_ready(uv_poll_t *handle, int status, int events) {
    cr_assert_eq(status, 0);
    cr_assert_eq(events, UV_READABLE);
    char byte;
    cr_assert_eq(read(pipe_ends[0], &byte, 1), 1);
    (void)handle;
    fired++;
}

static void watch_the_pipe(uv_timer_t *handle) {
    pn_loop_touch(loop);
    cr_assert_eq(uv_poll_start(handle->data, UV_READABLE, pipe_ready), 0);
}

/* Goal: a descriptor is seen although libuv hands it to the kernel late: watched from outside, and from inside a
 * callback.
 * Method: watch a pipe before a turn, and another time from a timer's callback; a byte in it ends a sleep without
 *       limit. */
Test(loop, descriptor_watched_late_is_seen, .init = setup, .fini = teardown) {
    cr_assert_eq(pipe(pipe_ends), 0);
    pn_loop_touch(loop);
    cr_assert_eq(uv_poll_init(&loop->uv, &poll_handle, pipe_ends[0]), 0);
    cr_assert_eq(uv_poll_start(&poll_handle, UV_READABLE, pipe_ready), 0);
    cr_assert_eq(write(pipe_ends[1], "x", 1), 1);
    (void)turn_until(1);
    cr_assert_eq(uv_poll_stop(&poll_handle), 0);

    timer.data = &poll_handle;
    pn_loop_touch(loop);
    cr_assert_eq(uv_timer_init(&loop->uv, &timer), 0);
    cr_assert_eq(uv_timer_start(&timer, watch_the_pipe, 1, 0), 0);
    cr_assert_eq(write(pipe_ends[1], "y", 1), 1);
    (void)turn_until(2);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_close((uv_handle_t *)&poll_handle, NULL);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void message_came(pn_message *message) {
    (void)message;
    fired++;
}

static void *post_soon(void *arg) {
    usleep(20000);
    pn_port_post(&driver.port, arg);
    return NULL;
}

/* Goal: a loop with nothing to do costs nothing: its driver sleeps until somebody rings.
 * Method: a turn without a deadline, woken by a message of another thread after 20 ms: few turns. */
Test(loop, idle_loop_sleeps, .init = setup, .fini = teardown) {
    pn_message message = {.deliver = message_came};
    pthread_t poster;
    pn_driver_turn(&driver, PIRN_NOW); /* libuv's own first turn */
    cr_assert_eq(pthread_create(&poster, NULL, post_soon, &message), 0);
    cr_assert_leq(turn_until(1), 3);
    cr_assert_eq(pthread_join(poster, NULL), 0);
}
