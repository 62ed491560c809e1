/* SPDX-License-Identifier: MIT
 *
 * What: the calls on a tasklet from outside and inside: handles that outlive it, options, join and release, names,
 *       locals.
 * Threads: one, in virtual time.
 */
#include "child.h"

static pirn_channel *channel;

static int return_number(void *arg) {
    return (int)(intptr_t)arg;
}

/* Receive for ever on `channel` and note what came of it. */
static int receive_and_note(void *arg) {
    int value = 0;
    int error = pirn_recv(channel, &value, PIRN_FOREVER);
    note("%s:%s", (const char *)arg, code_name(error));
    return error;
}

static void open_channel(void) {
    channel = pirn_channel_create(sizeof(int), 0);
    cr_assert_not_null(channel);
}

/* ---- handles ---- */

static int main_zero_handle(void *arg) {
    (void)arg;
    expect_dead((pirn_tasklet){0});
    expect_dead((pirn_tasklet){UINT64_MAX});
    return 0;
}

/* Goal: the zero handle and one that was never given out name nobody; every call says so and does no harm.
 * Method: each call that takes a handle. */
Test(tasklet_calls, zero_handle_is_dead) {
    cr_assert_eq(run_alone(main_zero_handle), 0);
}

static int main_stale_handles(void *arg) {
    (void)arg;
    enum { LIVES = 1000 };
    static pirn_tasklet old[LIVES];
    for (int i = 0; i < LIVES; i++) {
        old[i] = pirn_spawn(return_number, NULL);
        let_others_run();
        for (int j = 0; j < i; j++) {
            cr_assert_neq(old[i].id, old[j].id, "a handle is never given out twice");
        }
    }
    cr_assert_eq(pn_sched_self()->slab_count, 1, "all these lives used the same few records");
    for (int i = 0; i < LIVES; i++) {
        expect_dead(old[i]);
    }
    return 0;
}

/* Goal: a handle of an ended tasklet stays harmless, also when its record lives again as another tasklet.
 * Method: 1,000 lives in one record; every old handle is dead for every call. */
Test(tasklet_calls, stale_handles_are_dead) {
    cr_assert_eq(run_alone(main_stale_handles), 0);
}

static int compare_self(void *arg) {
    pirn_tasklet *mine = arg;
    cr_assert_eq(pirn_self().id, mine->id);
    return 0;
}

static int main_self(void *arg) {
    (void)arg;
    pirn_tasklet mine = {0};
    mine = pirn_spawn(compare_self, &mine);
    cr_assert_neq(pirn_self().id, mine.id);
    let_others_run();
    cr_assert_eq(pirn_worker(), 0);
    return 0;
}

/* Goal: pirn_self is the handle that spawn gave.
 * Method: the tasklet compares. */
Test(tasklet_calls, self_is_the_spawned_handle) {
    cr_assert_eq(run_alone(main_self), 0);
}

static int main_bad_options(void *arg) {
    (void)arg;
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.stack_bytes = 1024;
    cr_assert_eq(pirn_spawn_with(&options, return_number, NULL).id, 0);
    pirn_spawn_options_init(&options);
    options.flags = 1u << 30;
    cr_assert_eq(pirn_spawn_with(&options, return_number, NULL).id, 0);
    pirn_spawn_options_init(&options);
    options.home = 1;
    cr_assert_eq(pirn_spawn_with(&options, return_number, NULL).id, 0);
    options.home = -2;
    cr_assert_eq(pirn_spawn_with(&options, return_number, NULL).id, 0);
    cr_assert_eq(pn_sched_self()->counts.live, 1);
    return 0;
}

/* Goal: options out of range start nothing.
 * Method: a tiny stack, an unknown flag, homes that do not exist. */
Test(tasklet_calls, options_out_of_range_spawn_nothing) {
    cr_assert_eq(run_alone(main_bad_options), 0);
}

/* ---- join and release ---- */

static int main_join(void *arg) {
    (void)arg;
    int result = 0;
    pirn_tasklet runner = spawn_joinable(return_number, (void *)(intptr_t)42);
    cr_assert_eq(pirn_join(runner, &result, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(pirn_join(runner, &result, PIRN_FOREVER), 0);
    cr_assert_eq(result, 42);
    expect_dead(runner);
    pirn_tasklet ended = spawn_joinable(return_number, (void *)(intptr_t)-5);
    let_others_run();
    cr_assert_eq(pirn_cancel(ended), PIRN_EDEAD, "ended, though its result waits to be joined");
    cr_assert_eq(pirn_join(ended, &result, PIRN_NOW), 0);
    cr_assert_eq(result, -5);
    expect_dead(ended);
    cr_assert_eq(pn_sched_self()->counts.failed, 0, "an error that was joined for is nobody else's news");
    return 0;
}

/* Goal: join gives the result once, before or after the end; afterwards the handle is dead.
 * Method: one tasklet that still runs, one that has ended. */
Test(tasklet_calls, join_gives_the_result_once) {
    cr_assert_eq(run_alone(main_join), 0);
}

static int join_and_note(void *arg) {
    pirn_tasklet *target = arg;
    note("%s", code_name(pirn_join(*target, NULL, PIRN_FOREVER)));
    return 0;
}

static int main_join_refused(void *arg) {
    (void)arg;
    open_channel();
    cr_assert_eq(pirn_join(pirn_self(), NULL, PIRN_FOREVER), PIRN_EINVAL);
    pirn_tasklet detached = pirn_spawn(receive_and_note, "detached");
    let_others_run();
    cr_assert_eq(pirn_join(detached, NULL, PIRN_FOREVER), PIRN_EINVAL);
    pirn_tasklet wanted = spawn_joinable(receive_and_note, "wanted");
    pirn_spawn(join_and_note, &wanted);
    let_others_run();
    cr_assert_eq(pirn_join(wanted, NULL, PIRN_FOREVER), PIRN_EBUSY);
    cr_assert_eq(pirn_join(wanted, NULL, PIRN_NOW), PIRN_EBUSY);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: who cannot be joined is told so: oneself, a detached tasklet, one that somebody else waits for.
 * Method: each of them. */
Test(tasklet_calls, join_refuses_self_detached_and_second_joiner) {
    stderr_catch caught; /* the two end with PIRN_ECLOSED, one of them unhandled */
    stderr_catch_start(&caught);
    int result = run_alone(main_join_refused);
    free(stderr_catch_end(&caught));
    cr_assert_eq(result, 0);
    expect_noted("detached:PIRN_ECLOSED wanted:PIRN_ECLOSED 0");
}

static int main_join_contested(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet late = spawn_joinable(receive_and_note, "late");
    spawn_as("joiner", 0, join_and_note, &late);
    let_others_run();
    int value = 1;
    cr_assert_eq(pirn_send(channel, &value, PIRN_FOREVER), 0); /* `late` runs now and ends; its joiner is ready only */
    cr_assert_eq(pirn_join(late, NULL, PIRN_NOW), PIRN_EBUSY);
    cr_assert_eq(pirn_release(late), PIRN_EBUSY);
    let_others_run();
    expect_dead(late);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: between a tasklet's end and its joiner's turn nobody else can take or forget the result.
 * Method: end the target while main goes on first; join and release from main. */
Test(tasklet_calls, ended_target_belongs_to_its_joiner) {
    cr_assert_eq(run_alone(main_join_contested), 0);
    expect_noted("late:0 0");
}

static pirn_tasklet ring[2];

static int join_other(void *arg) {
    int index = (int)(intptr_t)arg;
    note("%d:%s", index, code_name(pirn_join(ring[1 - index], NULL, PIRN_FOREVER)));
    return 0;
}

static int main_join_ring(void *arg) {
    (void)arg;
    for (intptr_t i = 0; i < 2; i++) {
        ring[i] = spawn_joinable(join_other, (void *)i);
    }
    let_others_run();
    cr_assert_eq(pirn_release(ring[0]), 0);
    return 0;
}

/* Goal: who would join one that waits for him is told so at once; the other join then goes on.
 * Method: two tasklets join each other. */
Test(tasklet_calls, join_of_ones_joiner_is_a_deadlock) {
    cr_assert_eq(run_alone(main_join_ring), 0);
    expect_noted("1:PIRN_EDEADLK 0:0");
}

static int main_join_deadline(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet slow = spawn_joinable(receive_and_note, "slow");
    pirn_time deadline = pirn_after(PIRN_SECOND);
    cr_assert_eq(pirn_join(slow, NULL, deadline), PIRN_ETIMEDOUT);
    cr_assert_geq(pirn_now(), deadline);
    int value = 1, result = 77;
    cr_assert_eq(pirn_send(channel, &value, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_join(slow, &result, PIRN_FOREVER), 0, "it stayed joinable");
    cr_assert_eq(result, 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a join that timed out leaves the tasklet joinable.
 * Method: join with a deadline, then again. */
Test(tasklet_calls, join_deadline_leaves_it_joinable) {
    cr_assert_eq(run_alone(main_join_deadline), 0);
}

static int join_canceled(void *arg) {
    note("%s", code_name(pirn_join(*(pirn_tasklet *)arg, NULL, PIRN_FOREVER)));
    return 0;
}

static int main_join_canceled(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet target = spawn_joinable(receive_and_note, "target");
    pirn_tasklet joiner = pirn_spawn(join_canceled, &target);
    let_others_run();
    cr_assert_eq(pirn_cancel(joiner), 0);
    int value = 1;
    cr_assert_eq(pirn_send(channel, &value, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_join(target, NULL, PIRN_FOREVER), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: cancelling a joiner ends its wait only: the target goes on and stays joinable.
 * Method: cancel the joiner, then join from main. */
Test(tasklet_calls, canceled_join_leaves_the_target) {
    cr_assert_eq(run_alone(main_join_canceled), 0);
    expect_noted("PIRN_ECANCELED target:0");
}

static int main_release(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet runner = spawn_joinable(receive_and_note, "runner");
    let_others_run();
    cr_assert_eq(pirn_release(runner), 0);
    cr_assert_eq(pirn_join(runner, NULL, PIRN_NOW), PIRN_EINVAL, "detached now");
    int value = 1;
    cr_assert_eq(pirn_send(channel, &value, PIRN_FOREVER), 0);
    let_others_run();
    expect_dead(runner);
    pirn_tasklet ended = spawn_joinable(return_number, NULL);
    let_others_run();
    cr_assert_eq(pirn_release(ended), 0);
    expect_dead(ended);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: release detaches a tasklet that runs and forgets one that has ended.
 * Method: both, then look whether the handles are dead. */
Test(tasklet_calls, release_detaches_or_forgets) {
    cr_assert_eq(run_alone(main_release), 0);
    expect_noted("runner:0");
}

/* ---- names and locals ---- */

static int name_and_local(void *arg) {
    int mine = 0;
    cr_assert_str_eq(pirn_name(), "given");
    cr_assert_null(pirn_local(), "inherited by nobody");
    pirn_set_local(&mine);
    pirn_set_name("0123456789012345678901234567890123456789");
    pirn_yield();
    cr_assert_str_eq(pirn_name(), "0123456789012345678901234567890", "cut at 31 bytes");
    cr_assert_eq(pirn_local(), &mine);
    (void)arg;
    return 0;
}

static int main_names(void *arg) {
    (void)arg;
    cr_assert_str_eq(pirn_name(), "main");
    pirn_set_local(&channel);
    char name[] = "given";
    spawn_as(name, 0, name_and_local, NULL);
    spawn_as(name, 0, name_and_local, NULL);
    name[0] = 'x'; /* the name was copied */
    let_others_run();
    cr_assert_eq(pirn_local(), &channel);
    return 0;
}

/* Goal: names are copied and cut, locals belong to one tasklet.
 * Method: two tasklets set both, yield to each other, and read them back. */
Test(tasklet_calls, names_are_copied_and_locals_private) {
    cr_assert_eq(run_alone(main_names), 0);
}

static int leave_too_often(void *arg) {
    (void)arg;
    pirn_shield_enter();
    pirn_shield_leave();
    pirn_shield_leave();
    return 0;
}

static void run_leave_too_often(void) {
    (void)run_alone(leave_too_often);
}

/* Goal: a shield left once too often ends the program with the call's and the tasklet's name.
 * Method: a child's main does it. */
Test(tasklet_calls, shield_left_too_often_is_named) {
    child_end end = run_child(run_leave_too_often);
    expect_killed(&end, SIGABRT);
    expect_said(&end, "pirn_shield_leave() without a pirn_shield_enter() in tasklet");
    expect_said(&end, "\"main\"");
    free(end.text);
}

static int main_on_exit(void *arg) {
    (void)arg;
    cr_assert_eq(pirn_on_exit(NULL, &arg), PIRN_EINVAL);
    return 0;
}

/* Goal: a clean-up that is no function is refused when it is registered. Method: NULL. */
Test(tasklet_calls, on_exit_wants_a_function) {
    cr_assert_eq(run_alone(main_on_exit), 0);
}

/* ---- names of the unnamed ---- */

static char names_seen[4][64];

static int static_function(void *arg) {
    char label[64];
    memcpy(names_seen[(intptr_t)arg], pn_tasklet_name(pn_current(), label, sizeof label), sizeof label);
    return 0;
}

static int main_unnamed(void *arg) {
    (void)arg;
    const pirn_fn table[] = {static_function};
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    pirn_spawn(static_function, (void *)0);
    pirn_spawn_with(&options, static_function, (void *)1);
    pirn_spawn(table[0], (void *)2);
    options.name = "named";
    pirn_spawn_with(&options, static_function, (void *)3);
    let_others_run();
    return 0;
}

/* Goal: a tasklet without a name is called by its function, and where that is not known by the place of its spawn.
 * Method: a static function, by name and out of a table; and one with a name. */
Test(tasklet_calls, unnamed_tasklet_is_called_by_its_function) {
    cr_assert_eq(run_alone(main_unnamed), 0);
    cr_assert_str_eq(names_seen[0], "static_function");
    cr_assert_str_eq(names_seen[1], "static_function");
    cr_assert_eq(strncmp(names_seen[2], "fn at tasklet_calls_test.c:", 27), 0, "%s", names_seen[2]);
    cr_assert_str_eq(names_seen[3], "named");
}

/* ---- long chains of joins ---- */

enum { CHAIN = 10000 };
static pirn_tasklet chain[CHAIN];
static unsigned chain_ended;

static int sleep_a_little(void *arg) {
    (void)arg;
    int error = pirn_sleep_until(pirn_after(PIRN_SECOND));
    chain_ended++;
    return error;
}

static int join_at(void *arg) {
    int error = pirn_join(*(pirn_tasklet *)arg, NULL, PIRN_FOREVER);
    chain_ended += error == 0;
    return error;
}

static int main_chain(void *arg) {
    (void)arg;
    chain[0] = spawn_joinable(sleep_a_little, NULL);
    for (int i = 1; i < CHAIN; i++) {
        chain[i] = spawn_joinable(join_at, &chain[i - 1]);
    }
    return pirn_join(chain[CHAIN - 1], NULL, PIRN_FOREVER);
}

static int late_join_at(void *arg) {
    (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND)); /* all are there when the first joins */
    return join_at(arg);
}

/* Every second one joins first, then the others: chains meet in the middle. */
static int main_chain_in_halves(void *arg) {
    (void)arg;
    chain[0] = spawn_joinable(sleep_a_little, NULL);
    for (int i = 1; i < CHAIN; i++) {
        chain[i] = spawn_joinable(i % 2 ? join_at : late_join_at, &chain[i - 1]);
    }
    return pirn_join(chain[CHAIN - 1], NULL, PIRN_FOREVER);
}

/* Goal: a chain of thousands of joins is made and ended without looking through it for each of them.
 * Method: 10,000, each joining the one before, in two orders; the test's time limit is far below a quadratic look. */
Test(tasklet_calls, long_chain_of_joins_ends, .timeout = 30) {
    cr_assert_eq(run_alone(main_chain), 0);
    cr_assert_eq(chain_ended, CHAIN);
    cr_assert_eq(run_alone(main_chain_in_halves), 0);
    cr_assert_eq(chain_ended, 2 * CHAIN);
}
