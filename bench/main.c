/* SPDX-License-Identifier: MIT
 *
 * What: pirn-bench's command line: list, run, compare, plot.
 * Exit codes: 0 measured · 1 a sample failed or a file could not be written · 2 usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

static const char usage[] =
    "pirn-bench list\n"
    "pirn-bench run CASE... [--mode threaded|single] [--poll reactor|worker] [--workers N]\n"
    "               [--repeat R] [--sample-ms MS] [--json FILE]\n"
    "pirn-bench compare [CASE...] [the same options]     ours and the peers of this machine, alternating\n"
    "pirn-bench plot [--json FILE] [--svg FILE]\n"
    "Without --mode and --poll: threaded/reactor, threaded/worker and single, alternating.\n";

typedef struct wishes {
    const char *mode, *poll;
    unsigned workers;
} wishes;

static int usage_error(const char *what, const char *which) {
    fprintf(stderr, "pirn-bench: %s%s%s\n%s", what, which ? " " : "", which ? which : "", usage);
    return 2;
}

/* A whole number in [least, most]; false: it is none. */
static bool read_count(const char *text, unsigned least, unsigned most, unsigned *count) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < least || value > most) {
        return false;
    }
    *count = (unsigned)value;
    return true;
}

static bool is_one_of(const char *text, const char *a, const char *b) {
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

/* One option with its value. False: the value is out of range, or there is no such option. */
static bool read_option(plan *p, wishes *w, const char *option, const char *value) {
    unsigned ms;
    if (strcmp(option, "--mode") == 0) {
        w->mode = value;
        return is_one_of(value, "threaded", "single");
    }
    if (strcmp(option, "--poll") == 0) {
        w->poll = value;
        return is_one_of(value, "reactor", "worker");
    }
    if (strcmp(option, "--workers") == 0) {
        return read_count(value, 1, 64, &w->workers);
    }
    if (strcmp(option, "--repeat") == 0) {
        return read_count(value, 1, SAMPLES_MAX, &p->repeat);
    }
    if (strcmp(option, "--sample-ms") == 0) {
        bool known = read_count(value, 1, 60000, &ms);
        bench_sample_ns = known ? ms * PIRN_MILLISECOND : bench_sample_ns;
        return known;
    }
    if (strcmp(option, "--json") == 0) {
        p->json = value;
        return true;
    }
    if (strcmp(option, "--svg") == 0) {
        p->svg = value;
        return true;
    }
    return false;
}

static bool add_case(plan *p, const char *name) {
    for (unsigned i = 0; i < plan_case_count && p->case_count < CASES_MAX; i++) {
        if (strcmp(plan_cases[i]->name, name) == 0) {
            p->cases[p->case_count++] = plan_cases[i];
            return true;
        }
    }
    return false;
}

/* The settings that the wishes leave over. A single worker performs its own I/O: its policy is "worker". */
static void choose_settings(plan *p, const wishes *w) {
    static const struct {
        const char *mode, *poll;
        bench_setting setting;
    } all[] = {{"threaded", "reactor", {PIRN_MODE_THREADED, PIRN_POLL_REACTOR, 0}},
               {"threaded", "worker", {PIRN_MODE_THREADED, PIRN_POLL_WORKER, 0}},
               {"single", "worker", {PIRN_MODE_SINGLE, PIRN_POLL_WORKER, 0}}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool mode_ok = !w->mode || strcmp(w->mode, all[i].mode) == 0;
        bool poll_ok = !w->poll || strcmp(w->poll, all[i].poll) == 0;
        if (mode_ok && poll_ok) {
            bench_setting *setting = &p->settings[p->setting_count++];
            *setting = all[i].setting;
            setting->workers = setting->mode == PIRN_MODE_SINGLE ? 0 : w->workers;
        }
    }
}

static int list_cases(void) {
    for (unsigned i = 0; i < plan_case_count; i++) {
        printf("%-11s %s\n", plan_cases[i]->name, plan_cases[i]->question);
    }
    return 0;
}

/* Cases and options after the command. 0, or the exit code. */
static int read_arguments(plan *p, wishes *w, int count, char **arguments) {
    for (int i = 0; i < count; i++) {
        if (strncmp(arguments[i], "--", 2) != 0) {
            if (!add_case(p, arguments[i])) {
                return usage_error("no such case (see pirn-bench list):", arguments[i]);
            }
            continue;
        }
        if (i + 1 == count) {
            return usage_error("a value is missing after", arguments[i]);
        }
        if (!read_option(p, w, arguments[i], arguments[i + 1])) {
            return usage_error("no such option, or its value is out of range:", arguments[i]);
        }
        i++;
    }
    return 0;
}

static int run_or_compare(plan *p, const wishes *w, bool compare) {
    for (unsigned i = 0; compare && p->case_count == 0 && i < plan_case_count; i++) {
        (void)add_case(p, plan_cases[i]->name);
    }
    if (p->case_count == 0) {
        return usage_error("run what?", NULL);
    }
    choose_settings(p, w);
    if (p->setting_count == 0) {
        return usage_error("single mode has no reactor policy", NULL);
    }
    p->with_peers = compare;
    int code = plan_run(p);
    if (compare) {
        plan_print_absent();
    }
    return code;
}

int main(int argc, char **argv) {
    plan p = {.repeat = 5};
    wishes w = {0};
    if (argc < 2) {
        return usage_error("which command?", NULL);
    }
    const char *command = argv[1];
    if (is_one_of(command, "--help", "-h")) {
        fputs(usage, stdout);
        return 0;
    }
    int code = read_arguments(&p, &w, argc - 2, argv + 2);
    if (code != 0) {
        return code;
    }
    if (strcmp(command, "list") == 0) {
        return list_cases();
    }
    if (is_one_of(command, "run", "compare")) {
        return run_or_compare(&p, &w, strcmp(command, "compare") == 0);
    }
    return strcmp(command, "plot") == 0 ? plan_plot(&p) : usage_error("no such command:", command);
}
