/* SPDX-License-Identifier: MIT
 *
 * What: channels: the exact orders of Stackless' preferences, queues first in first out, balance, buffer, close,
 *       deadlines, and what becomes of a value whose receiver is struck before it ran.
 * Threads: one, in virtual time. Most tests run twice: on a shared channel and on a local one, which must not differ.
 */
#include "core_test.h"

static pirn_channel *channel;
static unsigned drops;
static int dropped_value;

static void count_drop(void *value) {
    drops++;
    dropped_value = *(int *)value;
}

typedef struct setting {
    pirn_preference preference;
    bool schedule_all;
    unsigned flags;
    size_t capacity;
    pirn_fn first, second; /* of a pair: who is spawned first                                            */
} setting;

static void open_with(const setting *s) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.preference = s->preference;
    options.schedule_all = s->schedule_all;
    options.flags = s->flags;
    options.drop = count_drop;
    channel = pirn_channel_create_with(sizeof(int), s->capacity, &options);
    cr_assert_not_null(channel);
}

static void open_plain(size_t capacity) {
    setting s = {.preference = PIRN_PREFER_RECEIVER, .capacity = capacity};
    open_with(&s);
}

static int run_with(pirn_fn main_fn, const setting *s) {
    pn_alone_use_virtual_clock(true);
    return pn_alone_run(main_fn, (void *)(uintptr_t)s);
}

static int send_one(int value) {
    return pirn_send(channel, &value, PIRN_FOREVER);
}

static int send_number(void *arg) {
    int value = (int)(intptr_t)arg;
    int error = send_one(value);
    note("sent%d:%s", value, code_name(error));
    return 0;
}

/* ---- the order of preferences: the traces of Stackless 3.7 ---- */

static int bystander(void *arg) {
    for (int round = 0; round < 3; round++) {
        note("%s%d", (const char *)arg, round);
        pirn_yield();
    }
    return 0;
}

static int sender(void *arg) {
    (void)arg;
    note("S:before");
    cr_assert_eq(send_one(7), 0);
    note("S:after");
    pirn_yield();
    note("S:later");
    return 0;
}

static int receiver(void *arg) {
    (void)arg;
    int value = 0;
    note("R:before");
    cr_assert_eq(pirn_recv(channel, &value, PIRN_FOREVER), 0);
    cr_assert_eq(value, 7);
    note("R:after");
    pirn_yield();
    note("R:later");
    return 0;
}

static int main_pair(void *arg) {
    const setting *s = arg;
    open_with(s);
    pirn_spawn(s->first, NULL);
    pirn_spawn(bystander, "X");
    pirn_spawn(s->second, NULL);
    pirn_spawn(bystander, "Y");
    let_others_run();
    cr_assert_eq(pirn_channel_balance(channel), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* The queue is FIRST X SECOND Y; each of the pair does its transfer and yields once, X and Y yield three times. */
static void expect_pair(pirn_preference preference, bool schedule_all, const char *sender_first,
                        const char *receiver_first) {
    for (unsigned flags = 0; flags <= PIRN_CHANNEL_LOCAL; flags += PIRN_CHANNEL_LOCAL) {
        setting s = {preference, schedule_all, flags, 0, sender, receiver};
        cr_assert_eq(run_with(main_pair, &s), 0);
        expect_noted(sender_first);
        s.first = receiver;
        s.second = sender;
        cr_assert_eq(run_with(main_pair, &s), 0);
        expect_noted(receiver_first);
    }
}

/* Goal: preference -1: a send to a waiting receiver switches to it, a receive from a waiting sender does not switch.
 * Method: the verified trace S X R Y, and R X S Y by the same rules. */
Test(channel, prefer_receiver_gives_stackless_order) {
    expect_pair(PIRN_PREFER_RECEIVER, false, "S:before X0 R:before R:after Y0 X1 S:after R:later Y1 X2 S:later Y2",
                "R:before X0 S:before R:after Y0 X1 S:after R:later Y1 X2 S:later Y2");
}

/* Goal: preference 0: whoever calls second goes on.
 * Method: as above. */
Test(channel, prefer_neither_gives_stackless_order) {
    expect_pair(PIRN_PREFER_NEITHER, false, "S:before X0 R:before R:after Y0 X1 S:after R:later Y1 X2 S:later Y2",
                "R:before X0 S:before S:after Y0 X1 R:after S:later Y1 X2 R:later Y2");
}

/* Goal: preference +1: a receive from a waiting sender switches to it, a send to a waiting receiver does not switch.
 * Method: as above. */
Test(channel, prefer_sender_gives_stackless_order) {
    expect_pair(PIRN_PREFER_SENDER, false, "S:before X0 R:before S:after Y0 X1 R:after S:later Y1 X2 R:later Y2",
                "R:before X0 S:before S:after Y0 X1 R:after S:later Y1 X2 R:later Y2");
}

/* Goal: schedule_all overrides the preference: the peer is appended and the caller yields.
 * Method: as above, with each preference: all three give the same order. */
Test(channel, schedule_all_gives_stackless_order) {
    for (int preference = PIRN_PREFER_RECEIVER; preference <= PIRN_PREFER_SENDER; preference++) {
        expect_pair((pirn_preference)preference, true,
                    "S:before X0 R:before Y0 X1 S:after R:after Y1 X2 S:later R:later Y2",
                    "R:before X0 S:before Y0 X1 R:after S:after Y1 X2 R:later S:later Y2");
    }
}

static int receive_word(void *arg) {
    int value = -1;
    int error = pirn_recv(channel, &value, PIRN_FOREVER);
    if (error == 0) {
        note("%s=%d", (const char *)arg, value);
    } else {
        note("%s:%s", (const char *)arg, code_name(error));
    }
    return 0;
}

static int main_three_receivers(void *arg) {
    open_with(arg);
    pirn_spawn(receive_word, "A");
    pirn_spawn(receive_word, "B");
    pirn_spawn(receive_word, "C");
    let_others_run();
    cr_assert_eq(pirn_channel_balance(channel), -3);
    for (int value = 0; value < 3; value++) {
        cr_assert_eq(send_one(value), 0);
        note("sent%d", value);
    }
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: three parked receivers get the values in their order; the preference decides who speaks first.
 * Method: the verified traces. */
Test(channel, three_receivers_are_served_in_order) {
    setting s = {.preference = PIRN_PREFER_RECEIVER};
    cr_assert_eq(run_with(main_three_receivers, &s), 0);
    expect_noted("A=0 sent0 B=1 sent1 C=2 sent2");
    s.preference = PIRN_PREFER_SENDER;
    cr_assert_eq(run_with(main_three_receivers, &s), 0);
    expect_noted("sent0 sent1 sent2 A=0 B=1 C=2");
}

static int send_word(void *arg) {
    const char *name = arg;
    cr_assert_eq(send_one(name[0]), 0);
    note("%sdone", name);
    return 0;
}

static int main_three_senders(void *arg) {
    open_with(arg);
    pirn_spawn(send_word, "A");
    pirn_spawn(send_word, "B");
    pirn_spawn(send_word, "C");
    let_others_run();
    cr_assert_eq(pirn_channel_balance(channel), 3);
    for (int i = 0; i < 3; i++) {
        int value = 0;
        cr_assert_eq(pirn_recv(channel, &value, PIRN_FOREVER), 0);
        note("got%c", value);
    }
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: three parked senders are received from in their order; the preference decides who speaks first.
 * Method: the verified traces. */
Test(channel, three_senders_are_received_in_order) {
    setting s = {.preference = PIRN_PREFER_RECEIVER};
    cr_assert_eq(run_with(main_three_senders, &s), 0);
    expect_noted("gotA gotB gotC Adone Bdone Cdone");
    s.preference = PIRN_PREFER_SENDER;
    cr_assert_eq(run_with(main_three_senders, &s), 0);
    expect_noted("Adone gotA Bdone gotB Cdone gotC");
}

static int ten_senders_main(void *arg) {
    (void)arg;
    open_plain(0);
    for (intptr_t i = 0; i < 10; i++) {
        pirn_spawn(send_number, (void *)i);
    }
    let_others_run();
    for (int i = 0; i < 10; i++) {
        int value = -1;
        cr_assert_eq(pirn_recv(channel, &value, PIRN_FOREVER), 0);
        cr_assert_eq(value, i);
    }
    expect_noted(""); /* no sender has gone on yet */
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: with preference -1 ten receives from ten parked senders do not let one of them run.
 * Method: the log is empty until main yields. */
Test(channel, receives_from_parked_senders_do_not_switch) {
    cr_assert_eq(run_alone(ten_senders_main), 0);
    expect_noted("sent0:0 sent1:0 sent2:0 sent3:0 sent4:0 sent5:0 sent6:0 sent7:0 sent8:0 sent9:0");
}

static int send_ten(void *arg) {
    (void)arg;
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(send_one(i), 0);
    }
    note("all sent");
    return 0;
}

static int main_receives_ten(void *arg) {
    (void)arg;
    open_plain(0);
    pirn_spawn(send_ten, NULL);
    for (int i = 0; i < 10; i++) {
        int value = -1;
        cr_assert_eq(pirn_recv(channel, &value, PIRN_FOREVER), 0);
        cr_assert_eq(value, i);
    }
    note("all received");
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: main gets ten values of one sender in order; what the sender does after its last send comes after main's
 *       turn.
 * Method: both note their end. */
Test(channel, main_receives_ten_before_the_sender_goes_on) {
    cr_assert_eq(run_alone(main_receives_ten), 0);
    expect_noted("all received all sent");
}

static void send_from_timer(pn_timer *timer) {
    (void)timer;
    int value = 3;
    cr_assert_null(pn_current());
    cr_assert_eq(pirn_send(channel, &value, PIRN_NOW), 0);
    cr_assert_eq(pirn_send(channel, &value, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(pirn_recv(channel, &value, PIRN_NOW), PIRN_EAGAIN);
    note("callback");
}

static int main_callback(void *arg) {
    (void)arg;
    pn_timer timer;
    open_plain(0);
    pirn_spawn(receive_word, "R");
    let_others_run();
    pn_timer_arm(&pn_sched_self()->timers, &timer, pirn_after(1), send_from_timer);
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_SECOND)), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a callback on the scheduler's own stack may send and receive with PIRN_NOW; nothing switches there.
 * Method: a timer's callback sends to a parked receiver with preference -1. */
Test(channel, callback_sends_without_switching) {
    cr_assert_eq(run_alone(main_callback), 0);
    expect_noted("callback R=3");
}

/* ---- waiting and balance ---- */

static int main_balance(void *arg) {
    open_with(arg);
    pirn_tasklet senders[2], receivers[2];
    cr_assert_eq(pirn_channel_balance(channel), 0);
    for (int i = 0; i < 2; i++) {
        senders[i] = pirn_spawn(send_number, NULL);
        let_others_run();
        cr_assert_eq(pirn_channel_balance(channel), i + 1);
    }
    cr_assert_eq(pirn_cancel(senders[0]), 0);
    cr_assert_eq(pirn_channel_balance(channel), 1);
    cr_assert_eq(pirn_cancel(senders[1]), 0);
    cr_assert_eq(pirn_channel_balance(channel), 0);
    for (int i = 0; i < 2; i++) {
        receivers[i] = pirn_spawn(receive_word, "R");
        let_others_run();
        cr_assert_eq(pirn_channel_balance(channel), -i - 1);
    }
    cr_assert_eq(pirn_cancel_pending(receivers[1]), 0);
    cr_assert_eq(pirn_channel_balance(channel), -1);
    cr_assert_eq(pirn_cancel_pending(receivers[0]), 0);
    cr_assert_eq(pirn_channel_balance(channel), 0);
    cr_assert_eq(pirn_channel_length(channel), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: the balance counts waiting senders up and receivers down and follows every cancel at once.
 * Method: 0 1 2, two cancels, -1 -2, two pending cancels; on a shared and a local channel. */
Test(channel, balance_is_exact) {
    setting s = {.preference = PIRN_PREFER_RECEIVER};
    for (s.flags = 0; s.flags <= PIRN_CHANNEL_LOCAL; s.flags += PIRN_CHANNEL_LOCAL) {
        cr_assert_eq(run_with(main_balance, &s), 0);
        expect_noted("sent0:PIRN_ECANCELED sent0:PIRN_ECANCELED R:PIRN_ECANCELED R:PIRN_ECANCELED");
    }
}

static int main_now(void *arg) {
    (void)arg;
    int value = 1;
    open_plain(0);
    pirn_spawn(bystander, "X");
    cr_assert_eq(pirn_send(channel, &value, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(pirn_recv(channel, &value, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(pirn_channel_balance(channel), 0);
    expect_noted("");
    let_others_run();
    expect_noted("X0 X1 X2");
    pirn_spawn(send_number, (void *)7);
    let_others_run();
    cr_assert_eq(pirn_recv(channel, &value, PIRN_NOW), 0);
    cr_assert_eq(value, 7);
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: PIRN_NOW completes what can complete and never parks.
 * Method: on an empty channel, with somebody else runnable; then with a sender parked. */
Test(channel, now_never_parks) {
    cr_assert_eq(run_alone(main_now), 0);
    expect_noted("sent7:0");
}

static int main_deadline(void *arg) {
    open_with(arg);
    int value = 1;
    pirn_time deadline = pirn_after(PIRN_SECOND);
    cr_assert_eq(pirn_recv(channel, &value, deadline), PIRN_ETIMEDOUT);
    cr_assert_geq(pirn_now(), deadline);
    cr_assert_eq(pirn_channel_balance(channel), 0);
    cr_assert_eq(pirn_send(channel, &value, pirn_after(PIRN_SECOND)), PIRN_ETIMEDOUT);
    cr_assert_eq(pirn_recv(channel, &value, deadline), PIRN_ETIMEDOUT, "a deadline that has passed");
    cr_assert_eq(pirn_channel_balance(channel), 0);
    cr_assert_eq(pn_sched_self()->timers.count, 0);
    pirn_spawn(send_number, (void *)8);
    let_others_run();
    cr_assert_eq(pirn_recv(channel, &value, deadline), 0, "what can go at once goes, whatever the deadline");
    cr_assert_eq(value, 8);
    let_others_run();
    cr_assert_eq(drops, 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a deadline ends the wait with PIRN_ETIMEDOUT and leaves neither waiter nor timer behind.
 * Method: both directions, in virtual time, on a shared and a local channel. */
Test(channel, deadline_leaves_nothing_behind) {
    setting s = {.preference = PIRN_PREFER_RECEIVER};
    for (s.flags = 0; s.flags <= PIRN_CHANNEL_LOCAL; s.flags += PIRN_CHANNEL_LOCAL) {
        cr_assert_eq(run_with(main_deadline, &s), 0);
    }
}

static int receive_before(void *arg) {
    (void)arg;
    int value = 0;
    int error = pirn_recv(channel, &value, pirn_after(PIRN_MILLISECOND));
    note("R:%s=%d", code_name(error), value);
    return 0;
}

static int main_value_beats_deadline(void *arg) {
    (void)arg;
    open_plain(0);
    pirn_channel_set_preference(channel, PIRN_PREFER_SENDER);
    pirn_spawn(receive_before, NULL);
    let_others_run();
    cr_assert_eq(send_one(4), 0);
    pn_alone_advance(PIRN_SECOND);
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a value handed over before the deadline is received, also when its receiver's turn comes after it.
 * Method: send to a parked receiver without switching, let the deadline pass, then let it run. */
Test(channel, value_handed_over_beats_the_deadline) {
    cr_assert_eq(run_alone(main_value_beats_deadline), 0);
    expect_noted("R:0=4");
    cr_assert_eq(drops, 0);
}

/* ---- strikes ---- */

static int send_again(void *arg) {
    int value = (int)(intptr_t)arg;
    note("S%d:%s", value, code_name(send_one(value)));
    note("S%d:%s", value, code_name(send_one(value)));
    return 0;
}

static int main_struck_sender_goes_last(void *arg) {
    (void)arg;
    open_plain(0);
    pirn_tasklet first = pirn_spawn(send_again, (void *)1);
    pirn_spawn(send_again, (void *)2);
    let_others_run();
    cr_assert_eq(pirn_throw(first, PIRN_EDB, false), 0);
    for (int i = 0; i < 3; i++) {
        int value = 0;
        cr_assert_eq(pirn_recv(channel, &value, PIRN_FOREVER), 0);
        note("got%d", value);
        let_others_run();
    }
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a struck sender that sends again stands at the back of the queue.
 * Method: 1 and 2 wait to send, 1 is struck and sends again: 2 is received first. */
Test(channel, struck_sender_waits_again_at_the_back) {
    cr_assert_eq(run_alone(main_struck_sender_goes_last), 0);
    expect_noted("S1:PIRN_EDB got2 S2:0 got1 S1:0 got2 S2:0");
    cr_assert_eq(drops, 0, "a sender that was struck still has its value");
}

static int main_pending_then_send(void *arg) {
    (void)arg;
    int value = 3;
    open_plain(0);
    pirn_tasklet waiting = pirn_spawn(receive_word, "R");
    let_others_run();
    cr_assert_eq(pirn_cancel_pending(waiting), 0);
    cr_assert_eq(pirn_send(channel, &value, PIRN_NOW), PIRN_EAGAIN, "nobody waits any more");
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a receiver struck but not yet run takes no value.
 * Method: cancel it pending, then try to send. */
Test(channel, pending_cancel_takes_no_value) {
    cr_assert_eq(run_alone(main_pending_then_send), 0);
    expect_noted("R:PIRN_ECANCELED");
}

/* How the tasklet that has been handed its value is struck before its turn. */
typedef struct strike_case {
    unsigned flags;
    bool pending, through_select;
} strike_case;

static int select_word(void *arg) {
    int value = -1;
    pirn_channel *other = pirn_channel_create(sizeof(int), 0);
    pirn_case cases[] = {{.channel = other, .direction = PIRN_RECV, .elem = &value},
                         {.channel = channel, .direction = PIRN_RECV, .elem = &value}};
    int chosen = pirn_select(cases, 2, PIRN_FOREVER);
    note("%s:%s", (const char *)arg, chosen < 0 ? code_name(chosen) : "chosen");
    cr_assert_eq(pirn_channel_balance(other), 0);
    pirn_channel_destroy(other);
    return 0;
}

static int main_loss_window(void *arg) {
    const strike_case *how = arg;
    setting s = {.preference = PIRN_PREFER_SENDER, .flags = how->flags};
    open_with(&s);
    pirn_tasklet waiting = pirn_spawn(how->through_select ? select_word : receive_word, "R");
    let_others_run();
    cr_assert_eq(send_one(42), 0);
    note("sent");
    cr_assert_eq(how->pending ? pirn_cancel_pending(waiting) : pirn_cancel(waiting), 0);
    let_others_run();
    cr_assert_eq(drops, 1);
    cr_assert_eq(dropped_value, 42);
    cr_assert_eq(pirn_channel_balance(channel), 0);
    pirn_channel_destroy(channel);
    cr_assert_eq(drops, 1, "exactly once");
    return 0;
}

/* Goal: a value handed to a tasklet that is cancelled before it ran goes to the drop callback, exactly once; the
 *       tasklet hears PIRN_ECANCELED.
 * Method: preference +1, so that the send does not switch; cancel now and pending, receive and select, shared and
 *       local. */
Test(channel, value_of_a_canceled_receiver_is_dropped_once) {
    for (unsigned bits = 0; bits < 8; bits++) {
        strike_case how = {bits & 1 ? PIRN_CHANNEL_LOCAL : 0, bits & 2, bits & 4};
        drops = 0;
        pn_alone_use_virtual_clock(true);
        cr_assert_eq(pn_alone_run(main_loss_window, &how), 0);
        expect_noted("sent R:PIRN_ECANCELED");
    }
}

static int shielded_receive(void *arg) {
    pirn_shield_enter();
    int result = receive_word(arg);
    pirn_shield_leave();
    return result;
}

static int main_shielded_value(void *arg) {
    (void)arg;
    open_plain(0);
    pirn_channel_set_preference(channel, PIRN_PREFER_SENDER);
    pirn_tasklet waiting = pirn_spawn(shielded_receive, "R");
    let_others_run();
    cr_assert_eq(send_one(6), 0);
    cr_assert_eq(pirn_cancel(waiting), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a shielded receiver keeps the value it was handed.
 * Method: as above, under a shield. */
Test(channel, shielded_receiver_keeps_its_value) {
    cr_assert_eq(run_alone(main_shielded_value), 0);
    expect_noted("R=6");
    cr_assert_eq(drops, 0);
}

static int send_then_sleep(void *arg) {
    note("send:%s", code_name(send_one((int)(intptr_t)arg)));
    note("sleep:%s", code_name(pirn_sleep_until(PIRN_FOREVER)));
    return 0;
}

static int main_received_from_canceled(void *arg) {
    (void)arg;
    int value = 0;
    open_plain(0);
    pirn_tasklet sending = pirn_spawn(send_then_sleep, (void *)5);
    let_others_run();
    cr_assert_eq(pirn_recv(channel, &value, PIRN_FOREVER), 0);
    cr_assert_eq(value, 5);
    cr_assert_eq(pirn_cancel(sending), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a sender whose value was received hears 0 although it was cancelled before its turn: "not 0" means that it
 *       still owns the value. The cancel strikes at its next wait.
 * Method: receive from a parked sender without switching, cancel it, let it run. */
Test(channel, received_sender_succeeds_despite_its_cancel) {
    cr_assert_eq(run_alone(main_received_from_canceled), 0);
    expect_noted("send:0 sleep:PIRN_ECANCELED");
    cr_assert_eq(drops, 0);
}

/* ---- nothing lost, nothing twice ---- */

enum { WORKERS = 12, ROUNDS = 400 };

static uint64_t sent_sum, received_sum, sent_count, received_count;
static uint64_t dropped_sum, dropped_count;

static void sum_drop(void *value) {
    dropped_sum += *(uint64_t *)value;
    dropped_count++;
}

static pirn_time random_deadline(void) {
    uint64_t dice = pn_random(pn_sched_self()) % 4;
    return dice == 0 ? PIRN_NOW : dice == 1 ? PIRN_FOREVER : pirn_after((int64_t)(dice * 1000));
}

static int send_many(void *arg) {
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t value = (uint64_t)(uintptr_t)arg * ROUNDS + i + 1;
        if (pirn_send(channel, &value, random_deadline()) == 0) {
            sent_sum += value;
            sent_count++;
        } else if (pirn_cancelled()) {
            return 0;
        }
        pirn_yield();
    }
    return 0;
}

static int receive_many(void *arg) {
    (void)arg;
    for (;;) {
        uint64_t value = 0;
        int error = pirn_recv(channel, &value, random_deadline());
        if (error == 0) {
            received_sum += value;
            received_count++;
        } else if (error == PIRN_ECLOSED || error == PIRN_ECANCELED) {
            return 0;
        }
        pirn_yield();
    }
}

static int main_conservation(void *arg) {
    pn_sched *sched = pn_sched_self();
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.drop = sum_drop;
    channel = pirn_channel_create_with(sizeof(uint64_t), (size_t)(uintptr_t)arg, &options);
    pirn_tasklet crowd[2 * WORKERS];
    for (uintptr_t i = 0; i < WORKERS; i++) {
        crowd[2 * i] = pirn_spawn(send_many, (void *)i);
        crowd[2 * i + 1] = pirn_spawn(receive_many, NULL);
    }
    for (int step = 0; step < 4 * ROUNDS; step++) {
        uint64_t dice = pn_random(sched);
        pirn_channel_set_preference(channel, (pirn_preference)(dice % 3) - 1);
        if (dice % 40 == 0) { /* strike somebody; a cancelled one is replaced, so that the crowd stays */
            pirn_tasklet *victim = &crowd[(dice >> 8) % (2 * WORKERS)];
            bool is_sender = (victim - crowd) % 2 == 0;
            (void)((dice >> 16) % 2 ? pirn_cancel(*victim) : pirn_cancel_pending(*victim));
            *victim = pirn_spawn(is_sender ? send_many : receive_many, (void *)(uintptr_t)(dice % 1000));
        }
        cr_assert_eq(pirn_sleep_until(pirn_after((int64_t)(dice % 700))), 0);
    }
    pirn_channel_close(channel);
    let_others_run();
    while (sched->counts.live > 1) {
        cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)), 0);
    }
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: whatever strikes, deadlines and preferences do: each value sent with 0 is received once or dropped once.
 * Method: a dozen senders and receivers with seeded random deadlines, random cancels, changing preference, at
 *         capacities 0, 1 and 7; counts and sums must balance. */
Test(channel, values_are_conserved_under_strikes_and_deadlines, .timeout = 60) {
    for (uintptr_t capacity = 0; capacity <= 7; capacity = capacity * 6 + 1) {
        sent_sum = sent_count = received_sum = received_count = dropped_sum = dropped_count = 0;
        pn_alone_use_virtual_clock(true);
        cr_assert_eq(pn_alone_run(main_conservation, (void *)capacity), 0);
        cr_assert_gt(received_count, (uint64_t)ROUNDS);
        cr_assert_eq(sent_count, received_count + dropped_count);
        cr_assert_eq(sent_sum, received_sum + dropped_sum);
    }
}
