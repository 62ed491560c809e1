/* SPDX-License-Identifier: MIT
 *
 * What: the samples of a whole run: one series per case, variant, unit and setting; its median, table and JSON.
 * Threads: one.
 */
#ifndef BENCH_SERIES_H
#define BENCH_SERIES_H

#include "bench.h"

#define SERIES_MAX  256 /* series in one run                                                             */
#define SAMPLES_MAX 100 /* --repeat's limit                                                              */

typedef struct series {
    char name[32], variant[32], mode[12], poll[12], unit[16];
    unsigned workers, order; /* order: of their first samples                                            */
    bench_better better;
    unsigned count;
    double samples[SAMPLES_MAX];
    double median, min, max; /* after series_summarize                                                   */
} series;

typedef struct series_table {
    unsigned count;
    series rows[SERIES_MAX];
} series_table;

/* Add one sample to the series that `like` names (all but its samples), made when new. False: no room. */
bool series_add(series_table *table, const series *like, double value);

/* Find each series' median, min and max, and put the series of one question side by side. Samples keep their order. */
void series_summarize(series_table *table);

/* One line a series. */
void series_print(const series_table *table);

/* An array of objects, one a line. 0, or a negative errno with one line on stderr. */
int series_write_json(const series_table *table, const char *path);

/* Read what series_write_json wrote. The same returns. */
int series_read_json(series_table *table, const char *path);

#endif
