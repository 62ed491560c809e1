/* SPDX-License-Identifier: MIT
 *
 * What: see core/reserve.h.
 * Threads: any; no state.
 */
#include "reserve.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define ARENA_BYTES ((rlim_t)64 << 20) /* glibc's HEAP_MAX_SIZE */
#define ARENAS_MAX  512

void *pn_reserve(size_t bytes, bool usable) {
    int protection = usable ? PROT_READ | PROT_WRITE : PROT_NONE;
    void *memory = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

bool pn_reserve_allow(void *at, size_t bytes) {
    return mprotect(at, bytes, PROT_READ | PROT_WRITE) == 0;
}

void pn_reserve_setup(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        rlim_t arenas = limit.rlim_cur / 4 / ARENA_BYTES;
        (void)mallopt(M_ARENA_MAX, arenas < 1 ? 1 : arenas < ARENAS_MAX ? (int)arenas : ARENAS_MAX);
    }
}

/* "RLIMIT_AS is 300000 KiB" into `text`; false: that limit is not set. */
static bool describe_limit(int resource, const char *name, char *text, size_t text_bytes) {
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return false;
    }
    snprintf(text, text_bytes, "%s is %llu KiB", name, (unsigned long long)limit.rlim_cur / 1024);
    return true;
}

void pn_reserve_tell(const char *what, size_t bytes, int error) {
    char limit[64];
    /* The kernel says EAGAIN when the memory would be locked beyond its limit; pthread_create says it for all causes,
     * and of threads it is the address space, too, more often than their number. */
    if (describe_limit(RLIMIT_AS, "RLIMIT_AS", limit, sizeof limit)) {
        pn_warn("%s: %zu KiB of address space are refused (%s), and %s; cure: raise it (ulimit -v)", what, bytes / 1024,
                strerrordesc_np(error), limit);
    } else if (error == EAGAIN && describe_limit(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", limit, sizeof limit)) {
        pn_warn("%s: %zu KiB of memory are refused (%s), and where memory is locked %s; cure: raise it (ulimit -l), or "
                "the number of processes (ulimit -u)",
                what, bytes / 1024, strerrordesc_np(error), limit);
    } else {
        pn_warn("%s: %zu KiB of memory are refused (%s); cure: more memory, or a higher sysctl vm.max_map_count", what,
                bytes / 1024, strerrordesc_np(error));
    }
}
