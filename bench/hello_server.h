/* SPDX-License-Identifier: MIT
 *
 * What: a server of /hello in a process of its own, and the figures of a load on it. What serves is a function, so
 *       that pirn and its peer are driven by the very same client.
 * Threads: the sample's process, which has one.
 */
#ifndef BENCH_HELLO_SERVER_H
#define BENCH_HELLO_SERVER_H

#include <stdio.h>

#include "bench.h"

/* Serve http://127.0.0.1/hello on a free port until SIGTERM: write "port N\n" to `ready` once it serves. The
 * server's process ends with the result. */
typedef int (*hello_serve)(const bench_setting *setting, FILE *ready);

/* Start it, load it with 8, 64 and 512 connections, and tell "cN" in requests/s and "cN-cpu" in ns of the server's
 * CPU a request, each followed by `suffix`. */
int hello_measure(hello_serve serve, const bench_setting *setting, const char *suffix, bench_out *out);

#endif
