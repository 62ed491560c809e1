/* SPDX-License-Identifier: MIT
 *
 * What: checks and completes pirn_options.
 *
 * Threads: any; no state.
 * Choice: `workers` in single mode and `poll` there are not wrong, they are overruled: an application changes its mode
 *       by one flag and nothing else.
 */
#include "options.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "cpu_quota.h"
#include "sched.h"
#include "stack.h"

#define OFFLOAD_THREADS_DEFAULT 4u
#define OFFLOAD_THREADS_MAX     64u
#define OFFLOAD_JOBS_DEFAULT    65536u
#define END_DEFAULT             (5 * PIRN_SECOND)
#define FETCH_CONNECTIONS_MAX   65536u
#define SLICE_WARN_DEFAULT      (100 * PIRN_MILLISECOND)
#define STUCK_WARN_DEFAULT      (10 * PIRN_SECOND)

void pirn_options_init(pirn_options *options) {
    *options = (pirn_options){.reactors = 1};
}

/* The processors this process may run on, which in a container may be fewer than the machine has. */
static unsigned count_cores(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        return (unsigned)CPU_COUNT(&allowed);
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

unsigned pn_options_count_cpus(unsigned cores, unsigned quota) {
    unsigned allowed = quota / 100 + (quota % 100 != 0);
    return quota != 0 && allowed < cores ? allowed : cores;
}

static unsigned default_workers(void) {
    unsigned cpus = pn_options_count_cpus(count_cores(), pn_cpu_quota(""));
    unsigned workers = cpus > 1 ? cpus - 1 : 1; /* one for the reactor */
    return workers < PN_WORKERS_MAX ? workers : PN_WORKERS_MAX;
}

void pn_options_explain_workers(const pirn_options *given, unsigned workers, char *text, size_t text_bytes) {
    unsigned cores = count_cores(), quota = pn_cpu_quota("");
    if (given && given->mode == PIRN_MODE_SINGLE) {
        snprintf(text, text_bytes, "single mode");
    } else if (given && given->workers) {
        snprintf(text, text_bytes, "as asked for");
    } else if (pn_options_count_cpus(cores, quota) < cores) {
        snprintf(text, text_bytes, "the cgroup's quota is %u.%02u CPUs", quota / 100, quota % 100);
    } else if (workers == PN_WORKERS_MAX) {
        snprintf(text, text_bytes, "%u CPUs, and %u are the most", cores, PN_WORKERS_MAX);
    } else {
        snprintf(text, text_bytes, "%u CPU%s%s", cores, cores == 1 ? "" : "s",
                 cores > 1 ? ", one for the reactor" : "");
    }
}

/* One line for a number out of its range. */
static bool in_range(const char *name, uint64_t value, uint64_t least, uint64_t most) {
    if (value == 0 || (value >= least && value <= most)) {
        return true;
    }
    pn_warn("option %s is %" PRIu64 ": it must be 0 (the default), or %" PRIu64 " to %" PRIu64, name, value, least,
            most);
    return false;
}

static bool is_time(const char *name, pirn_time value) {
    if (value >= 0) {
        return true;
    }
    pn_warn("option %s is %" PRId64 " ns: it must be 0 or more", name, value);
    return false;
}

static bool is_one_of(const char *name, int value, int last) {
    if (value >= 0 && value <= last) {
        return true;
    }
    pn_warn("option %s is %d: it must be 0 to %d", name, value, last);
    return false;
}

static bool are_valid(const pirn_options *options) {
    if (options->reactors > 1) {
        pn_warn("option reactors is %u: it must be 1 in this version", options->reactors);
        return false;
    }
    return is_one_of("mode", (int)options->mode, PIRN_MODE_SINGLE) &&
           is_one_of("poll", (int)options->poll, PIRN_POLL_WORKER) &&
           is_one_of("guard", (int)options->guard, PIRN_GUARD_CANARY) &&
           in_range("workers", options->workers, 1, PN_WORKERS_MAX) &&
           in_range("offload_threads", options->offload_threads, 1, OFFLOAD_THREADS_MAX) &&
           in_range("offload_max", options->offload_max, 1, UINT32_MAX) &&
           in_range("fetch_connections_max", options->fetch_connections_max, 1, FETCH_CONNECTIONS_MAX) &&
           in_range("fetch_connections_per_host_max", options->fetch_connections_per_host_max, 1,
                    FETCH_CONNECTIONS_MAX) &&
           in_range("stack_bytes", options->stack_bytes, PN_STACK_BYTES_MIN, PN_STACK_BYTES_MAX) &&
           is_time("drain_ns", options->drain_ns) && is_time("end_ns", options->end_ns) &&
           is_time("slice_warn_ns", options->slice_warn_ns) && is_time("stuck_warn_ns", options->stuck_warn_ns);
}

int pn_options_resolve(const pirn_options *given, pirn_options *resolved) {
    pirn_options_init(resolved);
    if (given) {
        *resolved = *given;
    }
    pirn_options *options = resolved;
    if (!are_valid(options)) {
        return PIRN_EINVAL;
    }
    bool single = options->mode == PIRN_MODE_SINGLE;
    options->reactors = 1;
    options->workers = single ? 1 : options->workers ? options->workers : default_workers();
    options->poll = single ? PIRN_POLL_WORKER : options->poll;
    options->offload_threads = options->offload_threads ? options->offload_threads : OFFLOAD_THREADS_DEFAULT;
    options->offload_max = options->offload_max ? options->offload_max : OFFLOAD_JOBS_DEFAULT;
    options->stack_bytes = options->stack_bytes ? options->stack_bytes : PN_STACK_BYTES_DEFAULT;
    options->end_ns = options->end_ns ? options->end_ns : END_DEFAULT;
    options->slice_warn_ns = options->slice_warn_ns ? options->slice_warn_ns : SLICE_WARN_DEFAULT;
    options->stuck_warn_ns = options->stuck_warn_ns ? options->stuck_warn_ns : STUCK_WARN_DEFAULT;
    options->seed = options->seed ? options->seed : 1;
    return 0;
}
