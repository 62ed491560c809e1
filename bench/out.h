/* SPDX-License-Identifier: MIT
 *
 * What: the way of figures from a sample's process to pirn-bench: one text line each through a pipe.
 * Lines: "workers N" · "figure VARIANT UNIT lower|higher VALUE". Variants and units contain no blanks.
 */
#ifndef BENCH_OUT_H
#define BENCH_OUT_H

#include <stdio.h>

#include "bench.h"

struct bench_out {
    FILE *pipe;
};

void bench_out_workers(bench_out *out, unsigned workers);

typedef struct bench_figure {
    char variant[32], unit[16];
    bench_better better;
    double value;
} bench_figure;

/* One received line: 1 for a figure, 0 for anything else; `workers` is set by its line. */
int bench_out_parse(const char *line, bench_figure *figure, unsigned *workers);

#endif
