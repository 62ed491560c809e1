/* SPDX-License-Identifier: MIT
 *
 * What: a table of series as JSON and back. Written one object a line, read again by plot: the reader knows this
 *       one shape, it is no JSON parser.
 * Threads: one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "series.h"

static void write_row(FILE *file, const series *row) {
    fprintf(file,
            "{\"case\":\"%s\",\"variant\":\"%s\",\"mode\":\"%s\",\"workers\":%u,\"poll\":\"%s\",\"unit\":\"%s\","
            "\"better\":\"%s\","
            "\"median\":%.6g,\"min\":%.6g,\"max\":%.6g,\"samples\":[",
            row->name, row->variant, row->mode, row->workers, row->poll, row->unit,
            row->better == BENCH_LOWER ? "lower" : "higher", row->median, row->min, row->max);
    for (unsigned i = 0; i < row->count; i++) {
        fprintf(file, "%s%.6g", i > 0 ? "," : "", row->samples[i]);
    }
    fprintf(file, "]}");
}

static int fail_on(const char *path) {
    int code = -errno;
    fprintf(stderr, "pirn-bench: %s: %s\n", path, strerror(-code));
    return code;
}

int series_write_json(const series_table *table, const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) {
        return fail_on(path);
    }
    fprintf(file, "[\n");
    for (unsigned i = 0; i < table->count; i++) {
        write_row(file, &table->rows[i]);
        fprintf(file, "%s\n", i + 1 < table->count ? "," : "");
    }
    fprintf(file, "]\n");
    bool broken = ferror(file) != 0;
    return fclose(file) != 0 || broken ? fail_on(path) : 0;
}

/* Copy the string value of "key" in `line`; false when there is none. */
static bool read_text(const char *line, const char *key, char *text, size_t text_bytes) {
    char pattern[32];
    snprintf(pattern, sizeof pattern, "\"%s\":\"", key);
    const char *start = strstr(line, pattern);
    if (!start) {
        return false;
    }
    start += strlen(pattern);
    size_t length = strcspn(start, "\"");
    if (length >= text_bytes) {
        return false;
    }
    memcpy(text, start, length);
    text[length] = '\0';
    return true;
}

static bool read_number(const char *line, const char *key, double *number) {
    char pattern[32];
    snprintf(pattern, sizeof pattern, "\"%s\":", key);
    const char *start = strstr(line, pattern);
    return start && sscanf(start + strlen(pattern), "%lf", number) == 1;
}

static bool read_row(const char *line, series *row) {
    char better[8];
    double workers;
    *row = (series){.count = 0};
    if (!read_text(line, "case", row->name, sizeof row->name) ||
        !read_text(line, "variant", row->variant, sizeof row->variant) ||
        !read_text(line, "mode", row->mode, sizeof row->mode) ||
        !read_text(line, "poll", row->poll, sizeof row->poll) ||
        !read_text(line, "unit", row->unit, sizeof row->unit) || !read_text(line, "better", better, sizeof better) ||
        !read_number(line, "workers", &workers) || !read_number(line, "median", &row->median) ||
        !read_number(line, "min", &row->min) || !read_number(line, "max", &row->max)) {
        return false;
    }
    row->workers = (unsigned)workers;
    row->better = strcmp(better, "lower") == 0 ? BENCH_LOWER : BENCH_HIGHER;
    return true;
}

int series_read_json(series_table *table, const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) {
        return fail_on(path);
    }
    char *line = NULL;
    size_t line_bytes = 0;
    while (table->count < SERIES_MAX && getline(&line, &line_bytes, file) >= 0) {
        table->count += read_row(line, &table->rows[table->count]) ? 1 : 0;
    }
    free(line);
    fclose(file);
    return 0;
}
