/* SPDX-License-Identifier: MIT
 *
 * What: `plot`: the JSON's medians as bars with their spread from min to max, one chart a unit, as SVG by gnuplot.
 * Threads: one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "path.h"
#include "plan.h"

/* The data of one unit, as gnuplot reads it inline: index, median, min, max, label. */
static void write_data(FILE *gnuplot, const series_table *table, const char *unit, unsigned number) {
    unsigned index = 0;
    fprintf(gnuplot, "$data%u << EOD\n", number);
    for (unsigned i = 0; i < table->count; i++) {
        const series *row = &table->rows[i];
        if (strcmp(row->unit, unit) == 0) {
            fprintf(gnuplot, "%u %.6g %.6g %.6g \"%s %s %s/%s\"\n", index++, row->median, row->min, row->max, row->name,
                    row->variant, row->mode, row->poll);
        }
    }
    fprintf(gnuplot, "EOD\n");
}

static unsigned collect_units(const series_table *table, const char *units[], unsigned units_max) {
    unsigned count = 0;
    for (unsigned i = 0; i < table->count; i++) {
        bool known = false;
        for (unsigned j = 0; j < count; j++) {
            known = known || strcmp(units[j], table->rows[i].unit) == 0;
        }
        if (!known && count < units_max) {
            units[count++] = table->rows[i].unit;
        }
    }
    return count;
}

static int draw(const series_table *table, const char *svg) {
    enum { UNITS_MAX = 4 };
    const char *units[UNITS_MAX];
    unsigned unit_count = collect_units(table, units, UNITS_MAX);
    FILE *gnuplot = popen("gnuplot", "w");
    if (!gnuplot) {
        perror("pirn-bench: gnuplot");
        return 1;
    }
    fprintf(gnuplot, "set terminal svg size %u,%u background rgb 'white'\nset output '%s'\n", 200 + 28 * table->count,
            560 * unit_count, svg);
    for (unsigned i = 0; i < unit_count; i++) {
        write_data(gnuplot, table, units[i], i);
    }
    fprintf(gnuplot,
            "set multiplot layout %u,1\nset style fill solid 0.5\nset logscale y\n"
            "set xtics rotate by 60 right noenhanced\nset grid ytics\nset key off\n",
            unit_count);
    for (unsigned i = 0; i < unit_count; i++) {
        fprintf(gnuplot, "set ylabel '%s'\nplot $data%u using 1:2:3:4:(0.7):xtic(5) with boxerrorbars\n", units[i], i);
    }
    fprintf(gnuplot, "unset multiplot\n");
    if (pclose(gnuplot) != 0) {
        fprintf(stderr, "pirn-bench: gnuplot failed\n");
        return 1;
    }
    printf("%u series drawn to %s\n", table->count, svg);
    return 0;
}

int plan_plot(const plan *p) {
    const char *json = p->json ? p->json : "bench.json", *svg = p->svg ? p->svg : "bench.svg";
    series_table *table = calloc(1, sizeof *table);
    if (!table || series_read_json(table, json) != 0) {
        free(table);
        return 1;
    }
    int code = 1;
    if (table->count == 0) {
        fprintf(stderr, "pirn-bench: %s holds no series\n", json);
    } else if (strchr(svg, '\'')) {
        fprintf(stderr, "pirn-bench: a quote in the SVG's name is more than gnuplot takes\n");
    } else if (!path_has_program("gnuplot")) {
        printf("gnuplot is not installed (Debian: gnuplot-nox), so nothing is drawn; %s holds %u series.\n", json,
               table->count);
        code = 0;
    } else {
        code = draw(table, svg);
    }
    free(table);
    return code;
}
