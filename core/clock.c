/* SPDX-License-Identifier: MIT
 *
 * What: the public clock: the scheduler's source of time, or the system's where no runtime runs.
 * Threads: any.
 */
#include <time.h>

#include "deadline.h"
#include "hooks.h"

pirn_time pirn_now(void) {
    if (pn_below) {
        return pn_below->now();
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (pirn_time)now.tv_sec * PIRN_SECOND + now.tv_nsec;
}

pirn_time pirn_after(int64_t nanoseconds) {
    return pn_deadline(pirn_now(), nanoseconds);
}
