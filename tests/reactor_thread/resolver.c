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
static unsigned stuck, calls, calls_elsewhere;

typedef int resolve_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static unsigned counted(const unsigned *counter) {
    pthread_mutex_lock(&lock);
    unsigned count = *counter;
    pthread_mutex_unlock(&lock);
    return count;
}

unsigned resolver_stuck(void) {
    return counted(&stuck);
}

unsigned resolver_calls(void) {
    return counted(&calls);
}

unsigned resolver_calls_elsewhere(void) {
    return counted(&calls_elsewhere);
}

static void count_call(void) {
    char name[16] = "";
    (void)pthread_getname_np(pthread_self(), name, sizeof name);
    pthread_mutex_lock(&lock);
    calls++;
    calls_elsewhere += strcmp(name, "offload-names") != 0;
    pthread_mutex_unlock(&lock);
}

/* 127.0.0.2 to 127.0.0.12, where nobody listens, then 127.0.0.1. The C library's lists can be joined. */
static int resolve_many(resolve_fn *resolve, const char *service, const struct addrinfo *hints,
                        struct addrinfo **result) {
    struct addrinfo **end = result;
    int error = 0;
    for (int i = 2; i <= 13 && error == 0; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "127.0.0.%d", i <= 12 ? i : 1);
        error = resolve(number, service, hints, end);
        end = error == 0 ? &(*end)->ai_next : end;
    }
    return error;
}

__attribute__((visibility("default"))) int getaddrinfo(const char *restrict host, const char *restrict service,
                                                       const struct addrinfo *restrict hints,
                                                       struct addrinfo **restrict result) {
    void *next = dlsym(RTLD_NEXT, "getaddrinfo");
    resolve_fn *resolve;
    memcpy(&resolve, &next, sizeof resolve); /* ISO C has no cast from an object's to a function's pointer */
    count_call();
    if (host && strcmp(host, "many.pirn.test") == 0) {
        return resolve_many(resolve, service, hints, result);
    }
    if (host && strcasecmp(host, "slow.pirn.test") == 0) {
        usleep(300000);
        host = "127.0.0.1";
    }
    if (host && strncmp(host, "stuck", 5) == 0) {
        pthread_mutex_lock(&lock);
        stuck++;
        pthread_mutex_unlock(&lock);
        for (;;) {
            pause();
        }
    }
    return resolve(host && strcasecmp(host, "loop.pirn.test") == 0 ? "127.0.0.1" : host, service, hints, result);
}
