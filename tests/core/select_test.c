/* SPDX-License-Identifier: MIT
 *
 * What: select: exactly one case is done, ready ones are chosen fairly and repeatably, a waiting select stands in
 *       its place in every queue and leaves all of them at once.
 * Threads: one, in virtual time.
 */
#include "core_test.h"

enum { CHANNELS = 4 };
static pirn_channel *channels[CHANNELS];

static void open_all(size_t capacity, unsigned flags) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.flags = flags;
    for (int i = 0; i < CHANNELS; i++) {
        channels[i] = pirn_channel_create_with(sizeof(int), capacity, &options);
        cr_assert_not_null(channels[i]);
    }
}

static void close_all(void) {
    for (int i = 0; i < CHANNELS; i++) {
        pirn_channel_destroy(channels[i]);
    }
}

static void expect_no_waiters(void) {
    for (int i = 0; i < CHANNELS; i++) {
        cr_assert_eq(pirn_channel_balance(channels[i]), 0);
    }
}

static pirn_case receive_case(int i, int *value) {
    return (pirn_case){.channel = channels[i], .direction = PIRN_RECV, .elem = value};
}

/* ---- refusals ---- */

static int main_refusals(void *arg) {
    (void)arg;
    open_all(0, 0);
    int value = 0;
    pirn_case cases[PIRN_SELECT_MAX + 1];
    for (int i = 0; i <= PIRN_SELECT_MAX; i++) {
        cases[i] = receive_case(i % CHANNELS, &value);
    }
    cr_assert_eq(pirn_select(cases, PIRN_SELECT_MAX + 1, PIRN_FOREVER), PIRN_EINVAL);
    cr_assert_eq(pirn_select(NULL, 1, PIRN_FOREVER), PIRN_EINVAL);
    cases[0].direction = (pirn_direction)0;
    cr_assert_eq(pirn_select(cases, 1, PIRN_FOREVER), PIRN_EINVAL);
    pirn_case both[] = {receive_case(0, &value), {.channel = channels[0], .direction = PIRN_SEND, .elem = &value}};
    cr_assert_eq(pirn_select(both, 2, PIRN_NOW), PIRN_EINVAL, "one channel in both directions would meet itself");
    pirn_case none[] = {{.channel = NULL, .direction = PIRN_RECV}, {.channel = NULL, .direction = PIRN_SEND}};
    cr_assert_eq(pirn_select(none, 2, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(pirn_select(none, 2, pirn_after(PIRN_SECOND)), PIRN_ETIMEDOUT, "cases that are never ready");
    expect_no_waiters();
    close_all();
    return 0;
}

/* Goal: a select that cannot be done is refused before it does anything; a NULL channel is never ready.
 * Method: too many cases, no direction, both directions of one channel. */
Test(select, impossible_selects_are_invalid) {
    cr_assert_eq(run_alone(main_refusals), 0);
}

/* ---- ready cases ---- */

static int main_one_ready(void *arg) {
    open_all(1, arg ? PIRN_CHANNEL_LOCAL : 0);
    int value = 5, got[CHANNELS] = {0};
    cr_assert_eq(pirn_send(channels[2], &value, PIRN_FOREVER), 0);
    pirn_case cases[CHANNELS];
    for (int i = 0; i < CHANNELS; i++) {
        cases[i] = receive_case(i, &got[i]);
    }
    uint64_t switches = pn_sched_self()->counts.switches;
    cr_assert_eq(pirn_select(cases, CHANNELS, PIRN_FOREVER), 2);
    cr_assert_eq(pn_sched_self()->counts.switches, switches, "it did not park");
    for (int i = 0; i < CHANNELS; i++) {
        cr_assert_eq(got[i], i == 2 ? 5 : 0);
    }
    cr_assert_eq(cases[2].status, 0);
    cr_assert_eq(pirn_select(cases, CHANNELS, PIRN_NOW), PIRN_EAGAIN);
    expect_no_waiters();
    close_all();
    return 0;
}

/* Goal: the one ready case is done at once, the others are left alone.
 * Method: a value in the third of four channels; shared and local ones. */
Test(select, ready_case_is_done_at_once) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_one_ready, NULL), 0);
    cr_assert_eq(pn_alone_run(main_one_ready, channels), 0);
}

enum { DRAWS = 4000 };
static unsigned char drawn[2][DRAWS];
static int run_number;

static int main_fairness(void *arg) {
    (void)arg;
    open_all(1, 0);
    int value = 1;
    unsigned hits[CHANNELS] = {0};
    for (int i = 0; i < CHANNELS; i++) {
        cr_assert_eq(pirn_send(channels[i], &value, PIRN_FOREVER), 0);
    }
    for (int draw = 0; draw < DRAWS; draw++) {
        pirn_case cases[CHANNELS];
        for (int i = 0; i < CHANNELS; i++) {
            cases[i] = receive_case(i, &value);
        }
        int chosen = pirn_select(cases, CHANNELS, PIRN_FOREVER);
        cr_assert(chosen >= 0 && chosen < CHANNELS);
        hits[chosen]++;
        drawn[run_number][draw] = (unsigned char)chosen;
        cr_assert_eq(pirn_send(channels[chosen], &value, PIRN_NOW), 0);
    }
    for (int i = 0; i < CHANNELS; i++) { /* 1,000 each are expected; 5 sigma are 137 */
        cr_assert(hits[i] > 850 && hits[i] < 1150, "channel %d was chosen %u times", i, hits[i]);
    }
    close_all();
    return 0;
}

/* Goal: among several ready cases each is chosen equally often, by the seed alone.
 * Method: 4,000 selects among four ready channels, twice: even counts, the same choices. */
Test(select, ready_cases_are_chosen_fairly_and_repeatably) {
    for (run_number = 0; run_number < 2; run_number++) {
        cr_assert_eq(run_alone(main_fairness), 0);
    }
    cr_assert_arr_eq(drawn[0], drawn[1], DRAWS);
}

static int main_closed_case(void *arg) {
    (void)arg;
    open_all(0, 0);
    int value = 0;
    pirn_channel_close(channels[1]);
    pirn_case cases[] = {receive_case(0, &value), receive_case(1, &value)};
    cr_assert_eq(pirn_select(cases, 2, PIRN_FOREVER), 1);
    cr_assert_eq(cases[1].status, PIRN_ECLOSED);
    cases[1].direction = PIRN_SEND;
    cases[1].status = 0;
    cr_assert_eq(pirn_select(cases, 2, PIRN_FOREVER), 1);
    cr_assert_eq(cases[1].status, PIRN_ECLOSED);
    expect_no_waiters();
    close_all();
    return 0;
}

/* Goal: a closed channel makes its case ready, with PIRN_ECLOSED as its status, in both directions.
 * Method: one closed channel among two. */
Test(select, closed_channel_is_a_ready_case) {
    cr_assert_eq(run_alone(main_closed_case), 0);
}

/* ---- waiting ---- */

static int select_any(void *arg) {
    int value = -1;
    pirn_case cases[CHANNELS];
    for (int i = 0; i < CHANNELS; i++) {
        cases[i] = receive_case(i, &value);
    }
    int chosen = pirn_select(cases, CHANNELS, PIRN_FOREVER);
    if (chosen < 0) {
        note("%s:%s", (const char *)arg, code_name(chosen));
    } else {
        note("%s:%d=%s/%d", (const char *)arg, chosen, code_name(cases[chosen].status), value);
    }
    return 0;
}

static int main_waiting(void *arg) {
    open_all(0, arg ? PIRN_CHANNEL_LOCAL : 0);
    for (int i = 0; i < CHANNELS; i++) {
        pirn_spawn(select_any, "S");
        let_others_run();
        for (int j = 0; j < CHANNELS; j++) {
            cr_assert_eq(pirn_channel_balance(channels[j]), -1);
        }
        int value = 10 + i;
        cr_assert_eq(pirn_send(channels[i], &value, PIRN_FOREVER), 0);
        expect_no_waiters();
    }
    close_all();
    return 0;
}

/* Goal: a waiting select is done by the first peer, with the right index and value, and leaves every queue.
 * Method: each of four channels in turn; shared and local. */
Test(select, first_peer_ends_the_wait_everywhere) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_waiting, NULL), 0);
    expect_noted("S:0=0/10 S:1=0/11 S:2=0/12 S:3=0/13");
    cr_assert_eq(pn_alone_run(main_waiting, channels), 0);
    expect_noted("S:0=0/10 S:1=0/11 S:2=0/12 S:3=0/13");
}

static int select_send(void *arg) {
    int values[CHANNELS];
    pirn_case cases[CHANNELS];
    for (int i = 0; i < CHANNELS; i++) {
        values[i] = 20 + i;
        cases[i] = (pirn_case){.channel = channels[i], .direction = PIRN_SEND, .elem = &values[i]};
    }
    int chosen = pirn_select(cases, CHANNELS, PIRN_FOREVER);
    note("%s:%d", (const char *)arg, chosen);
    return 0;
}

static int main_waiting_send(void *arg) {
    (void)arg;
    open_all(0, 0);
    for (int i = 0; i < CHANNELS; i++) {
        pirn_spawn(select_send, "S");
        let_others_run();
        int value = -1;
        cr_assert_eq(pirn_recv(channels[i], &value, PIRN_FOREVER), 0);
        cr_assert_eq(value, 20 + i, "the value of the case that was chosen");
        let_others_run(); /* at its turn it leaves the other queues */
        expect_no_waiters();
    }
    close_all();
    return 0;
}

/* Goal: a select may send: exactly the chosen case's value goes out.
 * Method: four sending cases with four values, received from each channel in turn. */
Test(select, waiting_sends_give_one_value) {
    cr_assert_eq(run_alone(main_waiting_send), 0);
    expect_noted("S:0 S:1 S:2 S:3");
}

static int receive_first(void *arg) {
    int value = -1;
    cr_assert_eq(pirn_recv(channels[1], &value, PIRN_FOREVER), 0);
    note("%s=%d", (const char *)arg, value);
    return 0;
}

static int main_fifo(void *arg) {
    (void)arg;
    open_all(0, 0);
    pirn_spawn(receive_first, "A");
    pirn_spawn(select_any, "S");
    pirn_spawn(receive_first, "B");
    let_others_run();
    for (int value = 0; value < 3; value++) {
        cr_assert_eq(pirn_send(channels[1], &value, PIRN_FOREVER), 0);
    }
    let_others_run();
    close_all();
    return 0;
}

/* Goal: a select stands in each queue in its place: neither before nor behind plain receivers that came earlier or
 *       later.
 * Method: receiver, select, receiver; three sends. */
Test(select, waiting_select_keeps_its_place_in_the_queue) {
    cr_assert_eq(run_alone(main_fifo), 0);
    expect_noted("A=0 S:1=0/1 B=2");
}

static int main_two_selects(void *arg) {
    (void)arg;
    open_all(0, 0);
    pirn_spawn(select_any, "receiver");
    let_others_run();
    pirn_spawn(select_send, "sender");
    let_others_run();
    expect_no_waiters();
    close_all();
    return 0;
}

/* Goal: two selects meet in exactly one case.
 * Method: one receives from four channels, the other sends to the same four. */
Test(select, two_selects_meet_once) {
    cr_assert_eq(run_alone(main_two_selects), 0);
    int receiver = -1, sender = -1, status_value = -1;
    cr_assert_eq(sscanf(noted, "receiver:%d=0/%d sender:%d", &receiver, &status_value, &sender), 3, "%s", noted);
    cr_assert_eq(receiver, sender);
    cr_assert_eq(status_value, 20 + sender);
}

static int main_same_channel_twice(void *arg) {
    (void)arg;
    open_all(0, 0);
    int a = -1, b = -1;
    pirn_case cases[] = {receive_case(0, &a), receive_case(0, &b)};
    cr_assert_eq(pirn_select(cases, 2, pirn_after(PIRN_SECOND)), PIRN_ETIMEDOUT);
    expect_no_waiters();
    pirn_spawn(select_send, "sender");
    let_others_run();
    int chosen = pirn_select(cases, 2, PIRN_FOREVER);
    cr_assert(chosen == 0 || chosen == 1);
    cr_assert_eq(chosen == 0 ? a : b, 20);
    cr_assert_eq(chosen == 0 ? b : a, -1);
    let_others_run();
    expect_no_waiters();
    close_all();
    return 0;
}

/* Goal: one channel may stand in a select twice; one case is done.
 * Method: two receiving cases of one channel, first timed out, then served. */
Test(select, same_channel_twice_is_done_once) {
    cr_assert_eq(run_alone(main_same_channel_twice), 0);
    expect_noted("sender:0");
}

static int main_ends(void *arg) {
    (void)arg;
    open_all(0, 0);
    int value = 0;
    pirn_case cases[] = {receive_case(0, &value), receive_case(1, &value)};
    pirn_time deadline = pirn_after(PIRN_SECOND);
    cr_assert_eq(pirn_select(cases, 2, deadline), PIRN_ETIMEDOUT);
    cr_assert_geq(pirn_now(), deadline);
    expect_no_waiters();
    pirn_tasklet canceled = pirn_spawn(select_any, "canceled");
    pirn_tasklet thrown = pirn_spawn(select_any, "thrown");
    pirn_spawn(select_any, "closed");
    let_others_run();
    cr_assert_eq(pirn_cancel(canceled), 0);
    cr_assert_eq(pirn_throw(thrown, PIRN_EDB, false), 0);
    for (int i = 0; i < CHANNELS; i++) {
        cr_assert_eq(pirn_channel_balance(channels[i]), -1);
    }
    pirn_channel_close(channels[3]);
    let_others_run();
    expect_no_waiters();
    close_all();
    return 0;
}

/* Goal: deadline, cancel, throw and close each end a waiting select and leave no clause in any queue.
 * Method: one of each; balances after each. */
Test(select, every_ending_leaves_all_queues) {
    cr_assert_eq(run_alone(main_ends), 0);
    expect_noted("canceled:PIRN_ECANCELED thrown:PIRN_EDB closed:3=PIRN_ECLOSED/-1");
}

static int main_most_cases(void *arg) {
    (void)arg;
    pirn_channel *many[PIRN_SELECT_MAX];
    pirn_case cases[PIRN_SELECT_MAX];
    int value = 0;
    for (int i = 0; i < PIRN_SELECT_MAX; i++) {
        many[i] = pirn_channel_create(sizeof(int), 1);
        cases[i] = (pirn_case){.channel = many[i], .direction = PIRN_RECV, .elem = &value};
    }
    cr_assert_eq(pirn_select(cases, PIRN_SELECT_MAX, pirn_after(1)), PIRN_ETIMEDOUT);
    for (int i = 0; i < PIRN_SELECT_MAX; i++) {
        value = i;
        cr_assert_eq(pirn_send(many[i], &value, PIRN_FOREVER), 0);
        value = -1;
        cr_assert_eq(pirn_select(cases, PIRN_SELECT_MAX, PIRN_FOREVER), i);
        cr_assert_eq(value, i);
    }
    for (int i = 0; i < PIRN_SELECT_MAX; i++) {
        pirn_channel_destroy(many[i]);
    }
    return 0;
}

/* Goal: PIRN_SELECT_MAX cases work, each of them.
 * Method: 64 channels, one ready at a time. */
Test(select, as_many_cases_as_allowed_work) {
    cr_assert_eq(run_alone(main_most_cases), 0);
}
