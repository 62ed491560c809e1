/* SPDX-License-Identifier: MIT
 *
 * What: pirn_resolve: numeric addresses at once, names by getaddrinfo(3) on an offload pool of its own.
 *
 * Threads: pirn_resolve a worker; look_up the pool's threads; the pool's pointer under `pool_lock`.
 * Invariants: (1) a numeric host with a numeric service starts no thread and leaves the worker not at all. A service by
 *       name goes the long way even for a numeric host: reading /etc/services blocks and needs more stack than a
 *       tasklet should spend. (2) Lookups have LOOKUP_THREADS threads and no more, and nobody else has those: a dead
 *       name server takes the threads of no other blocking call.
 * Lifetime: the pool is made by the first name and kept to the runtime's end. A lookup that is stuck then is disowned
 *       like any job (bridge/offload.c).
 * Rejected: uv_getaddrinfo: libuv joins its threads in a destructor of its library, so with a dead name server a
 *       program would hang in exit(3) for as long as the resolver likes; and its threads are shared by all that libuv
 *       does. c-ares: it skips parts of nsswitch.
 */
#include "resolve.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <pirn/offload.h>
#include <pirn/reactor.h>

#include "address.h"
#include "alloc.h"
#include "base.h"

#define LOOKUP_THREADS     2
#define LOOKUPS_QUEUED_MAX 1024

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static pirn_pool *lookup_pool;

/* ---- names ---- */

typedef struct question {
    int family;
    const char *service; /* in `text`, or NULL                                                          */
    char text[];         /* the host, then the service                                                 */
} question;

static pirn_addresses *addresses_create(size_t count) {
    pirn_addresses *addresses = pn_calloc(1, sizeof *addresses + count * sizeof addresses->address[0]);
    if (addresses) {
        addresses->count = count;
    }
    return addresses;
}

static int copy_answer(const struct addrinfo *answer, pirn_result *out) {
    size_t count = 0;
    for (const struct addrinfo *one = answer; one; one = one->ai_next) {
        count++;
    }
    pirn_addresses *addresses = addresses_create(count);
    if (!addresses) {
        return pirn_result_fail(out, PIRN_ENOMEM, "no memory for %zu addresses", count);
    }
    size_t index = 0;
    for (const struct addrinfo *one = answer; one; one = one->ai_next) {
        memcpy(&addresses->address[index++], one->ai_addr, one->ai_addrlen);
    }
    *out = (pirn_result){.value = addresses, .drop = pn_free};
    return 0;
}

/* On a thread of the pool: blocks for as long as the system's resolver does. */
static int look_up(void *arg, pirn_result *out) {
    const question *asked = arg;
    struct addrinfo hints = {.ai_family = asked->family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *answer = NULL;
    int error = getaddrinfo(asked->text, asked->service, &hints, &answer);
    if (error != 0) {
        int system = errno;
        return pirn_result_fail(out, error == EAI_MEMORY ? PIRN_ENOMEM : PIRN_EDNS, "%.120s: %s", asked->text,
                                error == EAI_SYSTEM ? strerror(system) : gai_strerror(error));
    }
    int status = copy_answer(answer, out);
    freeaddrinfo(answer);
    return status;
}

/* NULL: no memory, or no threads. */
static pirn_pool *pool_of_lookups(void) {
    (void)pthread_mutex_lock(&pool_lock);
    if (!lookup_pool) {
        lookup_pool = pirn_pool_create("names", LOOKUP_THREADS, LOOKUPS_QUEUED_MAX);
    }
    pirn_pool *pool = lookup_pool;
    (void)pthread_mutex_unlock(&pool_lock);
    return pool;
}

void pn_resolver_fini(void) {
    pirn_pool_close(lookup_pool);
    lookup_pool = NULL;
}

static pirn_deferred *answer_name(const char *host, const char *service, int family) {
    size_t host_bytes = strlen(host) + 1;
    size_t service_bytes = service ? strlen(service) + 1 : 0;
    pirn_pool *pool = pool_of_lookups();
    question *asked = pool ? pn_calloc(1, sizeof *asked + host_bytes + service_bytes) : NULL;
    if (!asked) {
        return NULL;
    }
    asked->family = family;
    memcpy(asked->text, host, host_bytes);
    if (service) {
        asked->service = memcpy(asked->text + host_bytes, service, service_bytes);
    }
    pirn_work work = {.pool = pool, .work = look_up, .arg = asked, .drop = pn_free, .name = "name lookup"};
    return pirn_offload_with(&work);
}

/* ---- numbers ---- */

/* The port, or -1 for one that is not a plain number. */
static int numeric_port(const char *service) {
    if (!service) {
        return 0;
    }
    size_t digits = strspn(service, "0123456789");
    if (digits == 0 || digits > 5 || service[digits] != '\0') {
        return -1;
    }
    long port = strtol(service, NULL, 10);
    return port <= UINT16_MAX ? (int)port : -1;
}

/* True when `host` is an address, whose form is then in `address`. */
static bool numeric_host(const char *host, uint16_t port, struct sockaddr_storage *address) {
    struct sockaddr_in *four = (struct sockaddr_in *)(void *)address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)address;
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        return true;
    }
    *address = (struct sockaddr_storage){.ss_family = AF_INET6};
    six->sin6_port = htons(port);
    return pn_address_parse_ipv6(host, six) == 0; /* also of an interface: "fe80::1%eth0" */
}

static pirn_deferred *answer_number(const char *host, const struct sockaddr_storage *address, int family) {
    if (family != AF_UNSPEC && family != address->ss_family) {
        return pirn_deferred_fail_now(
            pirn_failure_make(PIRN_EDNS, "%.100s is not an address of the family asked for", host));
    }
    pirn_addresses *addresses = addresses_create(1);
    if (!addresses) {
        return NULL;
    }
    addresses->address[0] = *address;
    return pirn_deferred_succeed(addresses, pn_free);
}

pirn_deferred *pirn_resolve(const char *host, const char *service, int family) {
    if (!host || host[0] == '\0') {
        return pirn_deferred_fail_now(pirn_failure_make(PIRN_EDNS, "no host to resolve"));
    }
    struct sockaddr_storage address = {0};
    int port = numeric_port(service);
    if (port >= 0 && numeric_host(host, (uint16_t)port, &address)) {
        return answer_number(host, &address, family);
    }
    return answer_name(host, service, family);
}
