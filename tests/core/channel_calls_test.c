/* SPDX-License-Identifier: MIT
 *
 * What: a channel's life and its buffer: create, sizes, close, destroy, drop, and the questions one can ask.
 * Threads: one, in virtual time.
 */
#include "child.h"

#include <pthread.h>

static pirn_channel *channel;
static int dropped[16];
static size_t drops;

static void keep_dropped(void *value) {
    dropped[drops++] = *(int *)value;
}

static void open_of(size_t capacity) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.drop = keep_dropped;
    channel = pirn_channel_create_with(sizeof(int), capacity, &options);
    cr_assert_not_null(channel);
}

static int send_one(int value) {
    return pirn_send(channel, &value, PIRN_FOREVER);
}

static int receive_one(void) {
    int value = -1;
    int error = pirn_recv(channel, &value, PIRN_FOREVER);
    return error == 0 ? value : error;
}

static int send_and_note(void *arg) {
    int value = (int)(intptr_t)arg;
    note("S%d:%s", value, code_name(send_one(value)));
    return 0;
}

static int receive_and_note(void *arg) {
    int value = -1;
    int error = pirn_recv(channel, &value, PIRN_FOREVER);
    note("%s:%s", (const char *)arg, code_name(error));
    return 0;
}

/* ---- create ---- */

static int main_ranges(void *arg) {
    (void)arg;
    pirn_channel_options options;
    cr_assert_null(pirn_channel_create((64u << 10) + 1, 0));
    cr_assert_null(pirn_channel_create(1, (1u << 24) + 1));
    pirn_channel_options_init(&options);
    options.flags = 1u << 20;
    cr_assert_null(pirn_channel_create_with(1, 0, &options));
    pirn_channel_options_init(&options);
    cr_assert_eq(options.preference, PIRN_PREFER_RECEIVER, "Stackless' default");
    pirn_channel_destroy(NULL);
    return 0;
}

/* Goal: sizes out of range make no channel, NULL is a harmless one to destroy.
 * Method: one above each limit. */
Test(channel_calls, out_of_range_gives_null) {
    cr_assert_eq(run_alone(main_ranges), 0);
}

static size_t elem_bytes;
static unsigned char sent[64 << 10], received[64 << 10];

static int send_bytes(void *arg) {
    (void)arg;
    cr_assert_eq(pirn_send(channel, elem_bytes ? sent : NULL, PIRN_FOREVER), 0);
    return 0;
}

static int main_sizes(void *arg) {
    (void)arg;
    const size_t sizes[] = {0, 1, 3, 8, 63, 64, 4096, 65535, 65536};
    for (size_t i = 0; i < sizeof sent; i++) {
        sent[i] = (unsigned char)(i * 7 + 1);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t capacity = 0; capacity < 2; capacity++) {
            elem_bytes = sizes[i];
            channel = pirn_channel_create(elem_bytes, capacity);
            cr_assert_not_null(channel);
            memset(received, 0xee, sizeof received);
            pirn_spawn(send_bytes, NULL);
            pirn_spawn(send_bytes, NULL);
            let_others_run();
            for (int round = 0; round < 2; round++) {
                cr_assert_eq(pirn_recv(channel, elem_bytes ? received : NULL, PIRN_FOREVER), 0);
            }
            cr_assert_arr_eq(received, sent, elem_bytes);
            cr_assert(elem_bytes == sizeof received || received[elem_bytes] == 0xee, "one byte too many");
            let_others_run();
            pirn_channel_destroy(channel);
        }
    }
    return 0;
}

/* Goal: elements of every size, none included, arrive whole and nothing behind them is touched.
 * Method: sizes around the edges, by rendezvous and through a buffer. */
Test(channel_calls, elements_of_every_size_arrive_whole) {
    cr_assert_eq(run_alone(main_sizes), 0);
}

static int main_missing_elem(void *arg) {
    (void)arg;
    channel = pirn_channel_create(sizeof(int), 1);
    cr_assert_eq(pirn_send(channel, NULL, PIRN_FOREVER), PIRN_EINVAL);
    cr_assert_eq(pirn_recv(channel, NULL, PIRN_FOREVER), PIRN_EINVAL);
    cr_assert_eq(pirn_channel_length(channel), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a missing element is refused, not followed.
 * Method: NULL where four bytes are due. */
Test(channel_calls, missing_element_is_invalid) {
    cr_assert_eq(run_alone(main_missing_elem), 0);
}

/* ---- the buffer ---- */

static int main_buffer(void *arg) {
    (void)arg;
    open_of(3);
    int number = 0;
    for (int round = 0; round < 5; round++) { /* the ring of three wraps at every place */
        for (size_t i = 0; i < 3; i++) {
            cr_assert_eq(send_one(number + (int)i), 0, "room: no park");
            cr_assert_eq(pirn_channel_length(channel), i + 1);
        }
        cr_assert_eq(pirn_channel_balance(channel), 0, "buffered values do not count");
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(receive_one(), number + i);
        }
        cr_assert_eq(send_one(100), 0);
        cr_assert_eq(receive_one(), number + 2);
        cr_assert_eq(receive_one(), 100);
        number += 3;
    }
    cr_assert_eq(drops, 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a buffer is first in, first out, wherever its ring wraps; with room a send does not park.
 * Method: fill and empty a buffer of three by four, five times. */
Test(channel_calls, buffer_is_first_in_first_out) {
    cr_assert_eq(run_alone(main_buffer), 0);
}

static int main_full_buffer(void *arg) {
    (void)arg;
    open_of(2);
    for (intptr_t value = 1; value <= 5; value++) {
        pirn_spawn(send_and_note, (void *)value);
    }
    let_others_run();
    expect_noted("S1:0 S2:0");
    cr_assert_eq(pirn_channel_balance(channel), 3);
    cr_assert_eq(pirn_channel_length(channel), 2);
    for (int value = 1; value <= 5; value++) {
        cr_assert_eq(receive_one(), value, "the waiting senders' values stand behind the buffer's");
    }
    let_others_run();
    cr_assert_eq(pirn_channel_balance(channel), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a full buffer parks its senders; each receive moves the first one's value up, in order.
 * Method: five senders at capacity two; receive all five. */
Test(channel_calls, full_buffer_parks_senders_in_order) {
    cr_assert_eq(run_alone(main_full_buffer), 0);
    expect_noted("S3:0 S4:0 S5:0");
}

static int main_buffer_hand_off(void *arg) {
    (void)arg;
    open_of(2);
    pirn_spawn(receive_and_note, "A");
    let_others_run();
    cr_assert_eq(send_one(1), 0);
    note("sent");
    cr_assert_eq(pirn_channel_length(channel), 0, "straight to the receiver");
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: with a receiver waiting the buffer is by-passed, and the preference counts as without one.
 * Method: preference -1: the receiver speaks first. */
Test(channel_calls, waiting_receiver_bypasses_the_buffer) {
    cr_assert_eq(run_alone(main_buffer_hand_off), 0);
    expect_noted("A:0 sent");
}

/* ---- close ---- */

static int main_close_receivers(void *arg) {
    (void)arg;
    open_of(0);
    pirn_spawn(receive_and_note, "A");
    pirn_spawn(receive_and_note, "B");
    let_others_run();
    cr_assert_not(pirn_channel_closed(channel));
    pirn_channel_close(channel);
    note("closed");
    cr_assert(pirn_channel_closed(channel));
    cr_assert_eq(pirn_channel_balance(channel), 0);
    pirn_channel_close(channel);
    cr_assert_eq(send_one(1), PIRN_ECLOSED);
    cr_assert_eq(receive_one(), PIRN_ECLOSED);
    int value = 1;
    cr_assert_eq(pirn_send(channel, &value, PIRN_NOW), PIRN_ECLOSED);
    cr_assert_eq(pirn_recv(channel, &value, PIRN_NOW), PIRN_ECLOSED);
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: close wakes every receiver with PIRN_ECLOSED, first come first, does not switch, and may be repeated.
 * Method: two receivers; then every call on the closed channel. */
Test(channel_calls, close_wakes_receivers_in_order) {
    cr_assert_eq(run_alone(main_close_receivers), 0);
    expect_noted("closed A:PIRN_ECLOSED B:PIRN_ECLOSED");
}

static int main_close_senders(void *arg) {
    (void)arg;
    open_of(0);
    pirn_spawn(send_and_note, (void *)1);
    pirn_spawn(send_and_note, (void *)2);
    let_others_run();
    pirn_channel_close(channel);
    let_others_run();
    cr_assert_eq(receive_one(), PIRN_ECLOSED);
    cr_assert_eq(drops, 0, "a sender that failed still has its value");
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: close wakes every sender with PIRN_ECLOSED, first come first; they keep their values.
 * Method: two senders. */
Test(channel_calls, close_wakes_senders_in_order) {
    cr_assert_eq(run_alone(main_close_senders), 0);
    expect_noted("S1:PIRN_ECLOSED S2:PIRN_ECLOSED");
}

static int main_close_drains(void *arg) {
    (void)arg;
    open_of(2);
    for (intptr_t value = 1; value <= 3; value++) {
        pirn_spawn(send_and_note, (void *)value);
    }
    let_others_run();
    pirn_channel_close(channel);
    let_others_run();
    cr_assert_eq(receive_one(), 1);
    cr_assert_eq(receive_one(), 2);
    cr_assert_eq(receive_one(), PIRN_ECLOSED);
    pirn_channel_destroy(channel);
    cr_assert_eq(drops, 0);
    return 0;
}

/* Goal: a closed channel gives its buffered values first; a sender that still waited for room does not get in.
 * Method: two values in the buffer, a third sender waiting. */
Test(channel_calls, closed_channel_drains_its_buffer) {
    cr_assert_eq(run_alone(main_close_drains), 0);
    expect_noted("S1:0 S2:0 S3:PIRN_ECLOSED");
}

static int collect(void *arg) {
    (void)arg;
    int value;
    while ((value = receive_one()) >= 0) {
        note("%d", value);
    }
    note("%s", code_name(value));
    return 0;
}

static int main_iterate(void *arg) {
    (void)arg;
    open_of(0);
    pirn_spawn(collect, NULL);
    let_others_run();
    cr_assert_eq(send_one(0), 0);
    cr_assert_eq(send_one(1), 0);
    pirn_channel_close(channel);
    let_others_run();
    pirn_spawn(collect, NULL); /* on a closed, empty channel: nothing */
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a loop of receives sees exactly the values sent and ends by itself at the close, parked or not.
 * Method: two values and a close while the loop is parked; then a loop on the closed channel. */
Test(channel_calls, receive_loop_ends_at_close) {
    cr_assert_eq(run_alone(main_iterate), 0);
    expect_noted("0 1 PIRN_ECLOSED PIRN_ECLOSED");
}

/* ---- destroy and drop ---- */

static int main_destroy_drops(void *arg) {
    (void)arg;
    open_of(4);
    for (int value = 1; value <= 4; value++) {
        cr_assert_eq(send_one(value), 0);
    }
    cr_assert_eq(receive_one(), 1);
    cr_assert_eq(send_one(5), 0); /* the ring has wrapped */
    pirn_channel_destroy(channel);
    cr_assert_eq(drops, 4);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(dropped[i], i + 2, "in order");
    }
    return 0;
}

/* Goal: values that nobody received go to the drop callback when the channel is destroyed, each once, in order.
 * Method: four values in a ring that has wrapped. */
Test(channel_calls, destroy_drops_buffered_values_once) {
    cr_assert_eq(run_alone(main_destroy_drops), 0);
}

static int main_destroy_parked(void *arg) {
    (void)arg;
    open_of(0);
    pirn_spawn(receive_and_note, "A");
    pirn_spawn(receive_and_note, "B");
    let_others_run();
    pirn_channel_destroy(channel);
    note("destroyed");
    return 0;
}

/* Goal: destroying a channel with tasklets parked on it wakes them with PIRN_ECLOSED and touches no freed memory.
 * Method: two receivers; AddressSanitizer and the leak check watch. */
Test(channel_calls, destroy_wakes_who_is_parked) {
    cr_assert_eq(run_alone(main_destroy_parked), 0);
    expect_noted("destroyed A:PIRN_ECLOSED B:PIRN_ECLOSED");
}

/* ---- questions ---- */

static int main_preference(void *arg) {
    (void)arg;
    open_of(0);
    cr_assert_eq(pirn_channel_preference(channel), PIRN_PREFER_RECEIVER);
    for (int wanted = -3; wanted <= 3; wanted++) {
        pirn_channel_set_preference(channel, (pirn_preference)wanted);
        cr_assert_eq((int)pirn_channel_preference(channel), (wanted > 0) - (wanted < 0));
    }
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: the preference can be read and set; any number counts by its sign, as Stackless'.
 * Method: -3 to 3. */
Test(channel_calls, preference_counts_by_its_sign) {
    cr_assert_eq(run_alone(main_preference), 0);
}

static int send_twenty(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(send_one(i), 0);
        pirn_yield();
    }
    return 0;
}

static int main_serves(void *arg) {
    (void)arg;
    int next[20] = {0}, value;
    open_of(0);
    for (int i = 0; i < 3; i++) {
        pirn_spawn(send_twenty, NULL);
    }
    for (int served = 0; served < 60; served++) {
        cr_assert_geq(value = receive_one(), 0);
        next[value]++;
    }
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(next[i], 3);
    }
    cr_assert_eq(pirn_recv(channel, &value, PIRN_NOW), PIRN_EAGAIN);
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a server receives exactly what its clients sent.
 * Method: three clients, twenty sends each. */
Test(channel_calls, three_clients_of_twenty_sends_are_sixty) {
    cr_assert_eq(run_alone(main_serves), 0);
}

static pirn_channel *back;

static int echo(void *arg) {
    (void)arg;
    int value;
    while ((value = receive_one()) >= 0) {
        value++;
        cr_assert_eq(pirn_send(back, &value, PIRN_FOREVER), 0);
    }
    return 0;
}

static int main_ping_pong(void *arg) {
    (void)arg;
    open_of(0);
    back = pirn_channel_create(sizeof(int), 0);
    pirn_spawn(echo, NULL);
    for (int i = 0; i < 100; i++) {
        int value = -1;
        cr_assert_eq(send_one(i), 0);
        cr_assert_eq(pirn_recv(back, &value, PIRN_FOREVER), 0);
        cr_assert_eq(value, i + 1);
    }
    pirn_channel_close(channel);
    let_others_run(); /* the echo ends before its channel goes */
    pirn_channel_destroy(channel);
    pirn_channel_destroy(back);
    cr_assert_eq(drops, 0);
    return 0;
}

/* Goal: a hundred ping-pongs lose nothing and leak nothing.
 * Method: two channels, an echo tasklet; the leak check watches. */
Test(channel_calls, ping_pong_keeps_every_value) {
    cr_assert_eq(run_alone(main_ping_pong), 0);
}

/* ---- a local channel elsewhere ---- */

static void *send_elsewhere(void *arg) {
    (void)pirn_send(arg, &(int){1}, PIRN_NOW);
    return NULL;
}

static void *receive_elsewhere(void *arg) {
    int value;
    (void)pirn_recv(arg, &value, PIRN_NOW);
    return NULL;
}

static void *count_elsewhere(void *arg) {
    (void)pirn_channel_balance(arg);
    return NULL;
}

static void *close_elsewhere(void *arg) {
    pirn_channel_close(arg);
    return NULL;
}

static void *(*elsewhere)(void *channel);

static int main_of_local(void *arg) {
    pthread_t other;
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.flags = *(unsigned *)arg;
    channel = pirn_channel_create_with(sizeof(int), 1, &options);
    cr_assert_eq(pthread_create(&other, NULL, elsewhere, channel), 0);
    pthread_join(other, NULL);
    pirn_channel_destroy(channel);
    return 0;
}

static void use_local_elsewhere(void) {
    (void)pn_alone_run(main_of_local, &(unsigned){PIRN_CHANNEL_LOCAL});
}

static void use_shared_elsewhere(void) {
    (void)pn_alone_run(main_of_local, &(unsigned){0});
}

/* Goal: a local channel, which has no lock, used on another thread is told in one line and ends the program where such
 *       checks are compiled in: not in release.
 * Method: a child whose second thread sends, receives, counts and closes; a shared channel may be used so. */
Test(channel_calls, local_channel_used_elsewhere_aborts) {
#ifdef NDEBUG
    cr_skip_test("the check is of debug builds");
#endif
    void *(*const uses[])(void *) = {send_elsewhere, receive_elsewhere, count_elsewhere, close_elsewhere};
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        elsewhere = uses[i];
        child_end end = run_child(use_shared_elsewhere);
        cr_assert(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0, "use %zu: %s", i, end.text);
        free(end.text);
        end = run_child(use_local_elsewhere);
        expect_said(&end, "assertion failed: channel->home == pn_sched_self()\n");
        cr_assert_eq(count_of(end.text, "pirn: "), 1);
        expect_killed(&end, SIGABRT);
        free(end.text);
    }
}
