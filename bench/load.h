/* SPDX-License-Identifier: MIT
 *
 * What: load on an HTTP server in another process: wrk when it is installed, else a small client of our own; and
 *       the CPU time that the server's threads have used.
 * Threads: the sample's process, which has one.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdint.h>
#include <sys/types.h>

typedef struct load_result {
    uint64_t requests; /* answered                                                                      */
    double seconds;
} load_result;

/* Ask http://127.0.0.1:`port`/hello over `connections` keep-alive connections for about `ns`, each with one request
 * in flight. Any failed or wrong answer makes it fail: -EPROTO or the system's code. */
int load_own(unsigned port, unsigned connections, int64_t ns, load_result *result);

/* The same by wrk, in whole seconds; -ENOENT when it is not installed. */
int load_wrk(unsigned port, unsigned connections, int64_t ns, load_result *result);

/* Nanoseconds on a CPU of all living threads of `process`, from /proc/PID/task/TID/schedstat. Negative errno: not
 * known. */
int64_t load_cpu_ns(pid_t process);

#endif
