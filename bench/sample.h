/* SPDX-License-Identifier: MIT
 *
 * What: taking one sample in a process of its own.
 * Threads: one.
 */
#ifndef BENCH_SAMPLE_H
#define BENCH_SAMPLE_H

#include "series.h"

/* What is measured: a case in a setting, or a peer. */
typedef struct subject {
    const bench_case *one; /* NULL: `peer`                                                               */
    bench_setting setting;
    const bench_peer *peer;
} subject;

/* Run it once in a child and add its figures to `table`. False, with one line on stderr, when the child failed, told
 * nothing or took longer than SAMPLE_LIMIT_S. */
bool sample_take(const subject *who, series_table *table);

#endif
