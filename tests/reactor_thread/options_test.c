/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/options.c: defaults, and one readable line for each option out of its range.
 */
#include "engine.h"
#include "options.h"

static pirn_options resolved_of(const pirn_options *given) {
    pirn_options resolved;
    cr_assert_eq(pn_options_resolve(given, &resolved), 0);
    return resolved;
}

/* Goal: defaults are what the public header says.
 * Method: resolve NULL, the initialised options and all zeros: the same values. */
Test(options, defaults_are_filled_in) {
    pirn_options initialised, zeros = {0};
    pirn_options_init(&initialised);
    const pirn_options *givens[] = {NULL, &initialised, &zeros};
    for (size_t i = 0; i < sizeof givens / sizeof *givens; i++) {
        pirn_options o = resolved_of(givens[i]);
        cr_assert_eq(o.mode, PIRN_MODE_THREADED);
        cr_assert_eq(o.poll, PIRN_POLL_REACTOR);
        cr_assert(o.workers >= 1 && o.workers <= 64);
        cr_assert_eq(o.reactors, 1);
        cr_assert_eq(o.offload_threads, 4);
        cr_assert_eq(o.offload_max, 65536);
        cr_assert_eq(o.stack_bytes, 65536);
        cr_assert_eq(o.drain_ns, 0);
        cr_assert_eq(o.slice_warn_ns, 100 * PIRN_MILLISECOND);
        cr_assert_eq(o.stuck_warn_ns, 10 * PIRN_SECOND);
        cr_assert_eq(o.seed, 1);
    }
}

/* Goal: a mode is changed by one flag: options that make no sense in it are overruled, not errors.
 * Method: single mode with eight workers and the reactor policy: one worker that polls. */
Test(options, single_mode_overrules_workers_and_poll) {
    pirn_options o = resolved_of(&(pirn_options){.mode = PIRN_MODE_SINGLE, .workers = 8, .poll = PIRN_POLL_REACTOR});
    cr_assert_eq(o.workers, 1);
    cr_assert_eq(o.poll, PIRN_POLL_WORKER);
}

static void expect_refused(const pirn_options *options, const char *line) {
    captured said = capture_begin();
    pirn_options resolved;
    int status = pn_options_resolve(options, &resolved);
    char *text = capture_end(said);
    cr_assert_eq(status, PIRN_EINVAL, "%s", line);
    cr_assert_str_eq(text, line);
    free(text);
}

/* Goal: each option out of its range gives PIRN_EINVAL and one line that names it and the range.
 * Method: compare the whole line for each option. */
Test(options, option_out_of_range_is_named) {
    expect_refused(&(pirn_options){.workers = 65},
                   "pirn: option workers is 65: it must be 0 (the default), or 1 to 64\n");
    expect_refused(&(pirn_options){.reactors = 2}, "pirn: option reactors is 2: it must be 1 in this version\n");
    expect_refused(&(pirn_options){.mode = (pirn_mode)7}, "pirn: option mode is 7: it must be 0 to 1\n");
    expect_refused(&(pirn_options){.poll = (pirn_poll)2}, "pirn: option poll is 2: it must be 0 to 1\n");
    expect_refused(&(pirn_options){.guard = (pirn_guard)4}, "pirn: option guard is 4: it must be 0 to 3\n");
    expect_refused(&(pirn_options){.offload_threads = 65},
                   "pirn: option offload_threads is 65: it must be 0 (the default), or 1 to 64\n");
    expect_refused(&(pirn_options){.stack_bytes = 16383},
                   "pirn: option stack_bytes is 16383: it must be 0 (the default), or 16384 to 67108864\n");
    expect_refused(&(pirn_options){.stack_bytes = (size_t)1 << 40},
                   "pirn: option stack_bytes is 1099511627776: it must be 0 (the default), or 16384 to 67108864\n");
    expect_refused(&(pirn_options){.drain_ns = -1}, "pirn: option drain_ns is -1 ns: it must be 0 or more\n");
    expect_refused(&(pirn_options){.slice_warn_ns = -1}, "pirn: option slice_warn_ns is -1 ns: it must be 0 or more\n");
    expect_refused(&(pirn_options){.stuck_warn_ns = -2}, "pirn: option stuck_warn_ns is -2 ns: it must be 0 or more\n");
}

static int nap(void *arg) {
    (void)arg;
    return pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
}

static int leave_a_nap_behind(void *arg) {
    pirn_tasklet other = pirn_spawn_with(&(pirn_spawn_options){.flags = PIRN_JOINABLE}, nap, NULL);
    cr_assert_eq(pirn_join(other, NULL, PIRN_FOREVER), 0); /* a wait without deadline: the census looks at it */
    (void)pirn_spawn(nap, arg);
    return nap(arg);
}

/* Goal: a duration too long for the clock is an endless one, in each option that is one.
 * Method: PIRN_FOREVER and numbers near it; in every mode the program ends after its naps, and says nothing. */
Test(options, durations_beyond_the_clock_are_endless, .timeout = 30) {
    static const pirn_time durations[] = {PIRN_FOREVER, PIRN_FOREVER - 1, PIRN_FOREVER / 2};
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        for (int which = 0; which < ENGINE_MODES; which++) {
            pirn_options options = engine_options(which);
            options.drain_ns = options.slice_warn_ns = options.stuck_warn_ns = durations[i];
            captured said = capture_begin();
            int status = pirn_run(&options, leave_a_nap_behind, NULL);
            char *text = capture_end(said);
            cr_assert_eq(status, 0, "%s, %lld ns: %s", engine_name(which), (long long)durations[i],
                         pirn_error_name(status));
            cr_assert_str_eq(text, "", "%s, %lld ns", engine_name(which), (long long)durations[i]);
            free(text);
        }
    }
}

/* Goal: a quota of CPUs bounds the default, rounded up, and is named as the reason; what is asked for is kept.
 * Method: the count for quotas around the number of cores; the words for what this machine has, and for an option. */
Test(options, quota_bounds_the_default_workers) {
    static const unsigned cases[][3] = {{64, 0, 64},  {64, 200, 2}, {64, 201, 3}, {64, 1, 1},
                                        {2, 6400, 2}, {1, 50, 1},   {4, 400, 4},  {4, 399, 4}};
    char text[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_eq(pn_options_count_cpus(cases[i][0], cases[i][1]), cases[i][2], "case %zu", i);
    }
    pn_options_explain_workers(NULL, 1, text, sizeof text);
    cr_assert_not_null(strstr(text, "CPU"), "%s", text);
    pn_options_explain_workers(&(pirn_options){.workers = 7}, 7, text, sizeof text);
    cr_assert_str_eq(text, "as asked for");
    pn_options_explain_workers(&(pirn_options){.mode = PIRN_MODE_SINGLE, .workers = 7}, 1, text, sizeof text);
    cr_assert_str_eq(text, "single mode");
}
