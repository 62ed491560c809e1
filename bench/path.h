/* SPDX-License-Identifier: MIT
 *
 * What: whether a program or a header is installed.
 * Threads: any.
 */
#ifndef BENCH_PATH_H
#define BENCH_PATH_H

#include <stdbool.h>

/* Whether an executable `name` stands in a folder of PATH. */
bool path_has_program(const char *name);
/* Whether the compiler would find <name> in the system's usual folders. */
bool path_has_header(const char *name);

#endif
