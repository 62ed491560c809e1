/* SPDX-License-Identifier: MIT
 *
 * What: the rounds of `run` and `compare`.
 * Threads: one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "path.h"
#include "plan.h"

static const bench_peer *const peers[] = {&bench_peer_ucontext, &bench_peer_thread_spawn, &bench_peer_condition,
                                          &bench_peer_eventfd, &bench_peer_epoll};

const bench_case *const plan_cases[] = {&bench_case_yield, &bench_case_spawn, &bench_case_channel,
                                        &bench_case_defer_hop, &bench_case_http_hello};
const unsigned plan_case_count = sizeof plan_cases / sizeof *plan_cases;

/* One case in all settings, one after the other, then its peers. Returns how many samples failed. */
static unsigned ask_once(const plan *p, const bench_case *one, series_table *table) {
    unsigned failed = 0;
    for (unsigned i = 0; i < p->setting_count; i++) {
        subject who = {.one = one, .setting = p->settings[i]};
        failed += sample_take(&who, table) ? 0 : 1;
    }
    for (size_t i = 0; p->with_peers && i < sizeof peers / sizeof *peers; i++) {
        if (strcmp(peers[i]->case_name, one->name) == 0) {
            subject who = {.peer = peers[i]};
            failed += sample_take(&who, table) ? 0 : 1;
        }
    }
    return failed;
}

static void print_note(const plan *p) {
    double load[3] = {0};
    (void)getloadavg(load, 3);
    printf("note: medians of %u rounds, %s, on %ld cores at a load of %.1f. Other programs share this machine: compare "
           "within one run only.\n",
           p->repeat, p->setting_count + p->with_peers > 1 ? "settings alternating in each round" : "one setting",
           sysconf(_SC_NPROCESSORS_ONLN), load[0]);
}

int plan_run(const plan *p) {
    unsigned failed = 0;
    series_table *table = calloc(1, sizeof *table);
    if (!table) {
        fprintf(stderr, "pirn-bench: no memory\n");
        return 70;
    }
    for (unsigned round = 0; round < p->repeat; round++) {
        for (unsigned i = 0; i < p->case_count; i++) {
            fprintf(stderr, "round %u of %u: %s\n", round + 1, p->repeat, p->cases[i]->name);
            failed += ask_once(p, p->cases[i], table);
        }
    }
    series_summarize(table);
    series_print(table);
    print_note(p);
    if (p->json && series_write_json(table, p->json) != 0) {
        failed++;
    }
    free(table);
    return failed == 0 ? 0 : 1;
}

void plan_print_absent(void) {
    static const struct {
        const char *name, *program, *header;
    } wanted[] = {{"Go", "go", NULL},
                  {"Tokio", "cargo", NULL},
                  {"nginx", "nginx", NULL},
                  {"libdill", NULL, "libdill.h"},
                  {"State Threads", NULL, "st.h"},
                  {"libuv", NULL, "uv.h"}};
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        printf("peer of %s: %s (%s)\n", peers[i]->case_name, peers[i]->name, peers[i]->what);
    }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        bool installed = wanted[i].program ? path_has_program(wanted[i].program) : path_has_header(wanted[i].header);
        printf("peer absent: %s (%s)\n", wanted[i].name,
               installed ? "installed, but this version has no program for it" : "not installed");
    }
}
