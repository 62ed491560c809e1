/* SPDX-License-Identifier: MIT
 *
 * What: keeping samples, medians and the table for people (see series.h).
 * Threads: one.
 */
#include "series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_same(const series *a, const series *b) {
    return strcmp(a->name, b->name) == 0 && strcmp(a->variant, b->variant) == 0 && strcmp(a->mode, b->mode) == 0 &&
           strcmp(a->poll, b->poll) == 0 && strcmp(a->unit, b->unit) == 0 && a->workers == b->workers;
}

bool series_add(series_table *table, const series *like, double value) {
    series *row = NULL;
    for (unsigned i = 0; i < table->count && !row; i++) {
        row = is_same(&table->rows[i], like) ? &table->rows[i] : NULL;
    }
    if (!row) {
        if (table->count == SERIES_MAX) {
            return false;
        }
        row = &table->rows[table->count];
        *row = *like;
        row->count = 0;
        row->order = table->count++;
    }
    if (row->count == SAMPLES_MAX) {
        return false;
    }
    row->samples[row->count++] = value;
    return true;
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Cases together, and within one its variants together, whatever order the rounds brought them in. */
static int by_question(const void *a, const void *b) {
    const series *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    order = order ? order : strcmp(left->unit, right->unit);
    order = order ? order : strcmp(left->variant, right->variant);
    return order ? order : (left->order > right->order) - (left->order < right->order);
}

void series_summarize(series_table *table) {
    for (unsigned i = 0; i < table->count; i++) {
        series *row = &table->rows[i];
        double sorted[SAMPLES_MAX];
        memcpy(sorted, row->samples, row->count * sizeof *sorted);
        qsort(sorted, row->count, sizeof *sorted, by_value);
        row->min = sorted[0];
        row->max = sorted[row->count - 1];
        row->median = (sorted[(row->count - 1) / 2] + sorted[row->count / 2]) / 2;
    }
    qsort(table->rows, table->count, sizeof *table->rows, by_question);
}

void series_print(const series_table *table) {
    printf("%-11s %-18s %-9s %-8s %7s %14s %14s %14s  %s\n", "case", "variant", "mode", "poll", "workers", "median",
           "min", "max", "unit");
    for (unsigned i = 0; i < table->count; i++) {
        const series *row = &table->rows[i];
        printf("%-11s %-18s %-9s %-8s %7u %14.1f %14.1f %14.1f  %s (%s is better, %u samples)\n", row->name,
               row->variant, row->mode, row->poll, row->workers, row->median, row->min, row->max, row->unit,
               row->better == BENCH_LOWER ? "lower" : "higher", row->count);
    }
}
