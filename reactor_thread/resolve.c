/* SPDX-License-Identifier: MIT
 *
 * What: pirn_resolve: numeric addresses at once, names by getaddrinfo(3) on an offload pool of its own.
 *
 * Threads: pirn_resolve a worker; look_up the pool's threads; all that changes is under `lock`.
 * Invariants: (1) a numeric host with a numeric service starts no thread and leaves the worker not at all. A service by
 *       name goes the long way even for a numeric host: reading /etc/services blocks and needs more stack than a
 *       tasklet should spend; (2) a lookup that finds all threads busy gets a new one, up to LOOKUP_THREADS_MAX: a dead
 *       name holds up no other; (3) equal lookups (host, family) under way at one time are one call of getaddrinfo.
 *       Each waiter gives up for itself; the call goes on, and a later asker for the same name joins it, so a name that
 *       hangs takes one thread however often it is asked for.
 * Lifetime: the pool is made by the first name and kept to the runtime's end. A lookup that is stuck then is disowned
 *       like any job (bridge/offload.c), and its waiters are failed by the job's callback.
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

#include <pirn/reactor.h>

#include "address.h"
#include "alloc.h"
#include "ascii.h"
#include "base.h"
#include "deferred.h"
#include "list.h"
#include "live.h"
#include "offload.h"
#include "sched.h"

#define LOOKUP_THREADS     2
#define LOOKUP_THREADS_MAX 64
#define LOOKUPS_QUEUED_MAX 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pirn_pool *lookup_pool;
static pn_list under_way = {{&under_way.head, &under_way.head}}; /* of lookup */

/* ---- names ---- */

/* One call of getaddrinfo and all who wait for it. */
typedef struct lookup {
    pn_node link;    /* in `under_way`, until it has an answer */
    pn_list waiting; /* of waiter                              */
    unsigned holds;  /* the job's, and the one of its deferred's callback */
    /* the job's thread: what getaddrinfo said */
    bool called;
    int code;
    const char *why;
    struct addrinfo *answer;
    /* immutable after create */
    int family;
    const char *service; /* in `text`; NULL: a number, which each waiter has for itself */
    char text[];         /* the host, then the service                                  */
} lookup;

/* One pirn_resolve. */
typedef struct waiter {
    pn_node link;   /* in its lookup, until it is answered or gives up */
    unsigned holds; /* the home's until its deferred has a result, and the one of `link` */
    pirn_deferred *deferred;
    uint16_t port;
} waiter;

static void unlink_node(pn_node *node) {
    if (pn_linked(node)) {
        pn_node_unlink(node);
    }
}

static void waiter_release(waiter *given) {
    (void)pthread_mutex_lock(&lock);
    bool last = --given->holds == 0;
    (void)pthread_mutex_unlock(&lock);
    if (last) {
        pn_free(given);
    }
}

/* The hold of its link, and the one on its deferred. */
static void waiter_unlinked(waiter *given) {
    pirn_deferred_release(given->deferred);
    waiter_release(given);
}

static void lookup_release(lookup *given) {
    (void)pthread_mutex_lock(&lock);
    bool last = --given->holds == 0;
    (void)pthread_mutex_unlock(&lock);
    if (last) {
        pn_free(given);
    }
}

static pirn_addresses *addresses_create(size_t count) {
    pirn_addresses *addresses = pn_calloc(1, sizeof *addresses + count * sizeof addresses->address[0]);
    if (addresses) {
        addresses->count = count;
    }
    return addresses;
}

static void set_port(struct sockaddr_storage *address, uint16_t port) {
    if (address->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
    }
}

/* Without a service the port is `port`. */
static int copy_answer(const lookup *asked, const struct addrinfo *answer, uint16_t port, pirn_result *out) {
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
        struct sockaddr_storage *address = &addresses->address[index++];
        memcpy(address, one->ai_addr, one->ai_addrlen);
        if (!asked->service) {
            set_port(address, port);
        }
    }
    *out = (pirn_result){.value = addresses, .drop = pn_free};
    return 0;
}

/* The next who waits for `asked`, with the hold of its link; NULL: nobody, and nobody can join any more. */
static waiter *next_waiter(lookup *asked) {
    (void)pthread_mutex_lock(&lock);
    pn_node *node = pn_list_pop(&asked->waiting);
    if (!node) {
        unlink_node(&asked->link);
    }
    (void)pthread_mutex_unlock(&lock);
    return node ? PN_CONTAINER_OF(node, waiter, link) : NULL;
}

/* Each waiter gets a copy of its own. Any thread of the runtime. */
static void answer_all(lookup *asked, int code, const char *why, const struct addrinfo *answer) {
    for (waiter *one = next_waiter(asked); one; one = next_waiter(asked)) {
        pirn_result result = {0};
        if (code == 0) {
            (void)copy_answer(asked, answer, one->port, &result);
        } else {
            (void)pirn_result_fail(&result, code, "%.120s: %s", asked->text, why);
        }
        (void)pirn_deferred_settle(one->deferred, &result);
        waiter_unlinked(one);
    }
}

static bool is_wanted(lookup *asked) {
    (void)pthread_mutex_lock(&lock);
    bool wanted = !pn_list_empty(&asked->waiting);
    if (!wanted) {
        unlink_node(&asked->link);
    }
    (void)pthread_mutex_unlock(&lock);
    return wanted;
}

/* On a thread of the pool: blocks for as long as the system's resolver does. */
static int look_up(void *arg, pirn_result *out) {
    lookup *asked = arg;
    *out = (pirn_result){0};
    if (!is_wanted(asked)) {
        return 0;
    }
    struct addrinfo hints = {.ai_family = asked->family, .ai_socktype = SOCK_STREAM};
    int error = getaddrinfo(asked->text, asked->service, &hints, &asked->answer);
    int system = errno;
    asked->called = true;
    if (error != 0) {
        asked->answer = NULL;
        asked->code = error == EAI_MEMORY ? PIRN_ENOMEM : PIRN_EDNS;
        asked->why = error == EAI_SYSTEM ? strerror(system) : gai_strerror(error);
    }
    return 0;
}

/* The end of the job, on its thread when it ran. Answers come from here, because the thread counts as idle by now: an
 * asker who asks again at once does not make the pool grow. */
static void drop_lookup(void *arg) {
    lookup *asked = arg;
    if (asked->called) {
        answer_all(asked, asked->code, asked->why, asked->answer);
        if (asked->answer) {
            freeaddrinfo(asked->answer);
        }
    }
    lookup_release(asked);
}

/* The asker's home: the job is over. It has answered, unless it never ran or outlives the runtime. */
static pirn_deferred *job_over(void *context, pirn_result *result) {
    lookup *asked = context;
    if (result->status != 0) {
        const char *why = result->failure ? pirn_failure_message(result->failure) : pirn_strerror(result->status);
        answer_all(asked, result->status, why, NULL);
        pirn_result_drop(result);
        *result = (pirn_result){0};
    }
    lookup_release(asked);
    return NULL;
}

/* NULL: no memory, or no threads. */
static pirn_pool *pool_of_lookups(void) {
    (void)pthread_mutex_lock(&lock);
    if (!lookup_pool) {
        lookup_pool = pn_pool_create_growing("names", LOOKUP_THREADS, LOOKUP_THREADS_MAX, LOOKUPS_QUEUED_MAX);
    }
    pirn_pool *pool = lookup_pool;
    (void)pthread_mutex_unlock(&lock);
    return pool;
}

void pn_resolver_fini(void) {
    pirn_pool_close(lookup_pool);
    lookup_pool = NULL;
    (void)pthread_mutex_lock(&lock);
    while (pn_list_pop(&under_way)) {
        /* What is left hangs on a thread that was disowned: the next runtime asks anew. */
    }
    (void)pthread_mutex_unlock(&lock);
}

/* ---- who waits ---- */

/* Home: the deferred's canceller. Its lookup goes on for the others, or for the next one that asks. */
static void leave(pirn_deferred *deferred, void *context) {
    (void)deferred;
    waiter *one = context;
    (void)pthread_mutex_lock(&lock);
    bool waited = pn_linked(&one->link);
    unlink_node(&one->link);
    (void)pthread_mutex_unlock(&lock);
    if (waited) {
        waiter_unlinked(one);
    }
}

/* Home: the deferred has its result, so the canceller cannot run any more. */
static void home_is_done(void *context) {
    pn_record_end();
    waiter_release(context);
}

/* NULL: no memory, or no worker here. Two holds: the home's, and the one for a link. */
static waiter *waiter_create(uint16_t port) {
    if (!pn_sched_self()) {
        pn_warn("pirn_resolve() from %s: its answer needs a worker. Ask in a tasklet, started with "
                "pirn_foreign_spawn().",
                pn_below->thread_role());
        return NULL;
    }
    waiter *made = pn_calloc(1, sizeof *made);
    if (!made) {
        return NULL;
    }
    made->holds = 2;
    made->port = port;
    made->deferred = pn_deferred_create_from((int)pn_sched_self()->options.id, leave, made, __FILE__, __LINE__);
    if (!made->deferred) {
        pn_free(made);
        return NULL;
    }
    pn_deferred_set_source(made->deferred, home_is_done);
    pn_record_begin();
    return made;
}

static lookup *lookup_create(const char *host, const char *service, int family) {
    size_t host_bytes = strlen(host) + 1;
    size_t service_bytes = service ? strlen(service) + 1 : 0;
    lookup *made = pn_calloc(1, sizeof *made + host_bytes + service_bytes);
    if (made) {
        made->family = family;
        made->holds = 2;
        pn_list_init(&made->waiting);
        memcpy(made->text, host, host_bytes);
        if (service) {
            made->service = memcpy(made->text + host_bytes, service, service_bytes);
        }
    }
    return made;
}

/* A lookup of the same name that is under way; NULL: there is none. Under the lock. */
static lookup *find(const char *host, const char *service, int family) {
    PN_LIST_EACH(&under_way, node) {
        lookup *asked = PN_CONTAINER_OF(node, lookup, link);
        if (asked->family == family && pn_ascii_equal(asked->text, host) &&
            (asked->service && service ? strcmp(asked->service, service) == 0 : !asked->service && !service)) {
            return asked;
        }
    }
    return NULL;
}

/* Let `one` wait for a lookup that is under way, else for `fresh`, which is then under way (NULL: for none). False:
 * `fresh` was not needed, or is NULL and `one` waits for nothing. */
static bool wait_for(waiter *one, lookup *fresh, const char *host, const char *service, int family, bool *waits) {
    (void)pthread_mutex_lock(&lock);
    lookup *asked = find(host, service, family);
    bool begins = !asked && fresh;
    if (begins) {
        asked = fresh;
        pn_list_append(&under_way, &fresh->link);
    }
    if (asked) {
        pn_list_append(&asked->waiting, &one->link);
    }
    (void)pthread_mutex_unlock(&lock);
    *waits = asked != NULL;
    return begins;
}

/* The job of a lookup that is under way. */
static void start(lookup *asked, pirn_pool *pool) {
    pirn_work work = {.pool = pool, .work = look_up, .arg = asked, .drop = drop_lookup, .name = "name lookup"};
    pirn_deferred *job = pirn_offload_with(&work);
    if (!job) {
        answer_all(asked, PIRN_ENOMEM, "no memory for a lookup", NULL);
        lookup_release(asked); /* the callback's; the job's was dropped */
        return;
    }
    if (pirn_deferred_add_both(job, job_over, asked) != 0) {
        answer_all(asked, PIRN_ENOMEM, "no memory for a lookup", NULL);
        lookup_release(asked);
    }
    pirn_deferred_release(job);
}

/* A lookup of its own for `one`, unless another worker has begun one meanwhile. 0; or PIRN_ENOMEM, then `one` waits
 * for nothing. */
static int begin(waiter *one, const char *host, const char *service, int family) {
    pirn_pool *pool = pool_of_lookups();
    lookup *asked = pool ? lookup_create(host, service, family) : NULL;
    if (!asked) {
        return PIRN_ENOMEM;
    }
    bool waits;
    if (wait_for(one, asked, host, service, family, &waits)) {
        start(asked, pool);
    } else {
        pn_free(asked);
    }
    return 0;
}

/* Whether a lookup of the same name is under way, for which `one` waits then. */
static bool join(waiter *one, const char *host, const char *service, int family) {
    bool waits;
    (void)wait_for(one, NULL, host, service, family, &waits);
    return waits;
}

static pirn_deferred *answer_name(const char *host, const char *service, int family, uint16_t port) {
    waiter *one = waiter_create(port);
    if (!one) {
        return NULL;
    }
    pirn_deferred *deferred = pirn_deferred_retain(one->deferred);
    if (!join(one, host, service, family) && begin(one, host, service, family) != 0) {
        pirn_result result = {0};
        (void)pirn_result_fail(&result, PIRN_ENOMEM, "no memory or no threads for a lookup");
        (void)pirn_deferred_settle(deferred, &result);
        waiter_unlinked(one);
    }
    return deferred;
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
    pirn_deferred *answer = answer_name(host, port >= 0 ? NULL : service, family, port >= 0 ? (uint16_t)port : 0);
    if (!answer) {
        pn_tasklet_was_refused();
    }
    return answer;
}
