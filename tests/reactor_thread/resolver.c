/* SPDX-License-Identifier: MIT
 *
 * What: getaddrinfo(3) of the test programs: the one in the program comes before the C library's.
 * Threads: any; the count under its lock.
 */
#include "resolver.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <unistd.h>

#include "test.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned stuck;

typedef int resolve_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

unsigned resolver_stuck(void) {
    pthread_mutex_lock(&lock);
    unsigned count = stuck;
    pthread_mutex_unlock(&lock);
    return count;
}

__attribute__((visibility("default"))) int getaddrinfo(const char *restrict host, const char *restrict service,
                                                       const struct addrinfo *restrict hints,
                                                       struct addrinfo **restrict result) {
    void *next = dlsym(RTLD_NEXT, "getaddrinfo");
    resolve_fn *resolve;
    memcpy(&resolve, &next, sizeof resolve); /* ISO C has no cast from an object's to a function's pointer */
    if (host && strcmp(host, "stuck.pirn.test") == 0) {
        pthread_mutex_lock(&lock);
        stuck++;
        pthread_mutex_unlock(&lock);
        for (;;) {
            pause();
        }
    }
    return resolve(host && strcmp(host, "loop.pirn.test") == 0 ? "127.0.0.1" : host, service, hints, result);
}
