/* SPDX-License-Identifier: MIT
 *
 * What: writing and reading the lines of out.h.
 * Threads: the sample's process writes, pirn-bench reads.
 */
#include "out.h"

#include <string.h>

void bench_tell(bench_out *out, const char *variant, const char *unit, bench_better better, double value) {
    fprintf(out->pipe, "figure %s %s %s %.17g\n", variant, unit, better == BENCH_LOWER ? "lower" : "higher", value);
    fflush(out->pipe);
}

void bench_out_workers(bench_out *out, unsigned workers) {
    fprintf(out->pipe, "workers %u\n", workers);
    fflush(out->pipe);
}

int bench_out_parse(const char *line, bench_figure *figure, unsigned *workers) {
    char better[8];
    if (sscanf(line, "workers %u", workers) == 1) {
        return 0;
    }
    if (sscanf(line, "figure %31s %15s %7s %lf", figure->variant, figure->unit, better, &figure->value) != 4) {
        return 0;
    }
    figure->better = strcmp(better, "lower") == 0 ? BENCH_LOWER : BENCH_HIGHER;
    return 1;
}
