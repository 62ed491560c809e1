/* SPDX-License-Identifier: MIT
 *
 * What: what the command line asks for, and the commands.
 * Threads: one.
 */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include "sample.h"

#define CASES_MAX    16
#define SETTINGS_MAX 3

typedef struct plan {
    const bench_case *cases[CASES_MAX];
    unsigned case_count;
    bench_setting settings[SETTINGS_MAX];
    unsigned setting_count;
    unsigned repeat;
    const char *json, *svg; /* files, NULL: none                                                         */
    bool with_peers;
} plan;

/* All cases, in the order of `list`. */
extern const bench_case *const plan_cases[];
extern const unsigned plan_case_count;

/* Take all samples, in rounds: each round asks every case in every setting (and every peer) once, so that a slow
 * minute of the machine falls on all alike. Prints the table and writes the JSON. The program's exit code. */
int plan_run(const plan *p);

/* Names the peers that compare would like and this machine or program lacks. */
void plan_print_absent(void);

/* Draw the JSON file's figures. The program's exit code. */
int plan_plot(const plan *p);

#endif
