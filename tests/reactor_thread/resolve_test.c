/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/resolve.c: numbers, names, and a name server that never answers.
 */
#include "engine.h"
#include "live.h"
#include "resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include <pirn/reactor.h>

/* The addresses of one answer, or the failure's code with its words in `why`. */
static int resolve(const char *host, const char *service, int family, pirn_addresses **addresses, char *why,
                   size_t bytes) {
    pirn_deferred *asked = pirn_resolve(host, service, family);
    cr_assert_not_null(asked);
    pirn_result result = {0};
    int status = pirn_await_take(asked, &result, PIRN_FOREVER);
    *addresses = result.value;
    if (status != 0) {
        (void)pirn_failure_format(result.failure, why, bytes);
        pirn_result_drop(&result);
    }
    return status;
}

/* "127.0.0.1:80" or "[::1]:80" of the first address. */
static void expect_first(const char *host, const char *service, int family, const char *wanted) {
    pirn_addresses *addresses = NULL;
    char why[300] = "", text[128], number[INET6_ADDRSTRLEN];
    cr_assert_eq(resolve(host, service, family, &addresses, why, sizeof why), 0, "%s", why);
    cr_assert_geq(addresses->count, 1);
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)&addresses->address[0];
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)&addresses->address[0];
    if (four->sin_family == AF_INET) {
        (void)inet_ntop(AF_INET, &four->sin_addr, number, sizeof number);
        (void)snprintf(text, sizeof text, "%s:%u", number, ntohs(four->sin_port));
    } else {
        (void)inet_ntop(AF_INET6, &six->sin6_addr, number, sizeof number);
        (void)snprintf(text, sizeof text, "[%s]:%u", number, ntohs(six->sin6_port));
    }
    cr_assert_str_eq(text, wanted);
    free(addresses);
}

static void expect_failure(const char *host, const char *service, int family, const char *words) {
    pirn_addresses *addresses = NULL;
    char why[300] = "";
    cr_assert_eq(resolve(host, service, family, &addresses, why, sizeof why), PIRN_EDNS);
    cr_assert(strstr(why, words), "\"%s\" is not in: %s", words, why);
}

static int resolve_numbers(void *arg) {
    (void)arg;
    unsigned threads = count_threads();
    pirn_deferred *asked = pirn_resolve("127.0.0.1", "80", AF_UNSPEC);
    cr_assert(pirn_deferred_finished(asked), "a number needs nobody");
    pirn_deferred_release(asked);
    expect_first("127.0.0.1", "80", AF_UNSPEC, "127.0.0.1:80");
    expect_first("10.1.2.3", NULL, AF_INET, "10.1.2.3:0");
    expect_first("::1", "65535", AF_INET6, "[::1]:65535");
    expect_first("fe80::1%lo", "1", AF_UNSPEC, "[fe80::1]:1");
    expect_failure("::1", "80", AF_INET, "family");
    expect_failure("127.0.0.1", "80", AF_INET6, "family");
    expect_failure("", "80", AF_UNSPEC, "no host");
    cr_assert_eq(count_threads(), threads);
    return 0;
}

/* Goal: numeric addresses of both families are answered at once, with the port, without a thread.
 * Method: compare text and port of the answers; the deferred has fired when the call returns; the threads are
 *       counted. */
Test(resolve, number_is_answered_at_once) {
    in_every_mode(resolve_numbers, NULL);
}

static int resolve_names(void *arg) {
    (void)arg;
    unsigned threads = count_threads();
    expect_first("localhost", "80", AF_INET, "127.0.0.1:80");
    expect_first("loop.pirn.test", "8080", AF_UNSPEC, "127.0.0.1:8080");
    expect_failure("no..such..name", "80", AF_UNSPEC, "no..such..name");
    expect_failure("127.0.0.1", "no-such-service", AF_UNSPEC, "127.0.0.1");
    for (unsigned i = 0; i < 50; i++) {
        expect_first("localhost", "1", AF_INET, "127.0.0.1:1");
    }
    cr_assert_eq(count_threads(), threads + 2);
    return 0;
}

/* Goal: names are answered by the system's resolver, unknown ones with PIRN_EDNS and its words, on two threads in all.
 * Method: localhost, a name that only this program knows, malformed names and services; the threads are counted. */
Test(resolve, name_is_answered_by_the_system) {
    in_every_mode(resolve_names, NULL);
}

static bool is_stuck(void *context) {
    return resolver_stuck() == *(unsigned *)context;
}

static int give_up_a_stuck_one(void *arg) {
    (void)arg;
    unsigned stuck = resolver_stuck() + 1;
    pirn_deferred *asked = pirn_resolve("stuck.pirn.test", "80", AF_UNSPEC);
    wait_until(is_stuck, &stuck);
    pirn_result result;
    cr_assert_eq(pirn_await_take(asked, &result, pirn_after(5 * PIRN_MILLISECOND)), PIRN_ETIMEDOUT);
    expect_first("loop.pirn.test", "1", AF_UNSPEC, "127.0.0.1:1"); /* the other thread */
    return 0;
}

/* Goal: a caller's deadline holds although the resolver hangs; others go on, and so does the end of the runtime.
 * Method: a name that never comes back, given up after 5 ms; another name is answered; pirn_run returns with one
 *       line. */
Test(resolve, stuck_lookup_holds_nobody_up) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        captured said = capture_begin();
        int result = pirn_run(&options, give_up_a_stuck_one, NULL);
        char *text = capture_end(said);
        cr_assert_eq(result, 0, "%s", text);
        cr_assert(strstr(text, "the job \"name lookup\" on thread offload-names outlives"), "%s", text);
        free(text);
    }
}

#define DEAD 20

static bool are_stuck(void *context) {
    return resolver_stuck() >= *(unsigned *)context;
}

static int ask_beside_dead_names(void *arg) {
    (void)arg;
    unsigned stuck = resolver_stuck() + DEAD;
    pirn_deferred *dead[DEAD];
    for (unsigned i = 0; i < DEAD; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "stuck-%u-%u.pirn.test", stuck, i);
        dead[i] = pirn_resolve(name, "80", AF_UNSPEC);
        expect_first("loop.pirn.test", "1", AF_UNSPEC, "127.0.0.1:1");
    }
    wait_until(are_stuck, &stuck);
    for (unsigned i = 0; i < DEAD; i++) {
        cr_assert(!pirn_deferred_finished(dead[i]));
        pirn_result result;
        cr_assert_eq(pirn_await_take(dead[i], &result, PIRN_NOW), PIRN_EAGAIN);
    }
    expect_first("loop.pirn.test", "2", AF_UNSPEC, "127.0.0.1:2");
    return 0;
}

/* Goal: a name that lives is answered however many others hang, whether these are still waited for or not.
 * Method: twenty names that never come back, a live one after each, and one after all were given up. */
Test(resolve, dead_names_hold_up_no_live_one) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        cr_assert_eq(pirn_run(&options, ask_beside_dead_names, NULL), 0); /* with a line for each stuck lookup */
    }
}

/* In a tasklet of any worker: the same name with a port of its own. */
static int ask_slow(void *arg) {
    char port[16], wanted[64];
    (void)snprintf(port, sizeof port, "%d", (int)(intptr_t)arg);
    (void)snprintf(wanted, sizeof wanted, "127.0.0.1:%s", port);
    expect_first((intptr_t)arg % 2 ? "slow.pirn.test" : "SLOW.pirn.test", port, AF_UNSPEC, wanted);
    return 0;
}

static int ask_together(void *arg) {
    (void)arg;
    unsigned calls = resolver_calls();
    pirn_tasklet askers[16];
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE | PIRN_ANYWHERE;
    pirn_deferred *first = pirn_resolve("slow.pirn.test", "80", AF_UNSPEC);
    for (unsigned i = 0; i < 16; i++) {
        askers[i] = pirn_spawn_with(&options, ask_slow, (void *)(intptr_t)(i + 1));
    }
    pirn_result result;
    (void)pirn_await_take(first, &result, pirn_after(20 * PIRN_MILLISECOND)); /* gives up; the others stay */
    for (unsigned i = 0; i < 16; i++) {
        cr_assert_eq(pirn_join(askers[i], NULL, PIRN_FOREVER), 0);
    }
    cr_assert_eq(resolver_calls(), calls + 1);
    return 0;
}

/* Goal: equal lookups at one time are one call of the resolver, each waiter has its own port, and the first to ask may
 *       give up without harm to the others.
 * Method: a name that takes 300 ms, in any case of letters, asked for by tasklets of all workers; the calls are
 *       counted. */
Test(resolve, equal_lookups_share_one_call) {
    in_every_mode(ask_together, NULL);
}

#define AT_ONCE_ROUNDS 12

typedef struct at_once {
    atomic_uint arrived; /* of all rounds */
    unsigned base, stuck;
} at_once;

/* On two workers: wait for the other one without a turn, and ask for a name that hangs. */
static int ask_at_once(void *arg) {
    at_once *both = arg;
    pirn_deferred *asked[AT_ONCE_ROUNDS];
    for (unsigned round = 0; round < AT_ONCE_ROUNDS; round++) {
        char name[64];
        (void)snprintf(name, sizeof name, "stuck-%u-%u.pirn.test", both->base, round);
        atomic_fetch_add(&both->arrived, 1);
        while (atomic_load(&both->arrived) < 2 * (round + 1)) {
        }
        asked[round] = pirn_resolve(name, "80", AF_UNSPEC);
    }
    wait_until(are_stuck, &both->stuck); /* a lookup that nobody waits for before it begins is no call */
    for (unsigned round = 0; round < AT_ONCE_ROUNDS; round++) {
        (void)pirn_deferred_cancel(asked[round]);
        pirn_deferred_release(asked[round]);
    }
    return 0;
}

static int ask_on_two_workers(void *arg) {
    (void)arg;
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    if (info.workers < 2) {
        return 0;
    }
    unsigned calls = resolver_calls();
    at_once both = {.base = calls, .stuck = resolver_stuck() + AT_ONCE_ROUNDS};
    pirn_tasklet askers[2];
    for (int i = 0; i < 2; i++) {
        pirn_spawn_options options;
        pirn_spawn_options_init(&options);
        options.home = i;
        options.flags = PIRN_JOINABLE;
        askers[i] = pirn_spawn_with(&options, ask_at_once, &both);
    }
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pirn_join(askers[i], NULL, PIRN_FOREVER), 0);
    }
    expect_first("loop.pirn.test", "1", AF_UNSPEC, "127.0.0.1:1"); /* behind whatever was begun before */
    cr_assert_eq(resolver_calls(), calls + AT_ONCE_ROUNDS + 1);
    return 0;
}

/* Goal: two workers that ask for one name in the same moment share one call, too.
 * Method: both wait for each other without a turn before each of twelve names that hang; the calls are counted. */
Test(resolve, equal_lookups_of_two_workers_share_one_call) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        cr_assert_eq(pirn_run(&options, ask_on_two_workers, NULL), 0); /* with a line for each stuck lookup */
    }
}

/* Goal: outside of a worker there is no home for the answer.
 * Method: call before any runtime runs, with a number and with a name. */
Test(resolve, resolve_outside_a_worker_gives_null) {
    cr_assert_null(pirn_resolve("127.0.0.1", "80", AF_UNSPEC));
    cr_assert_null(pirn_resolve("localhost", "80", AF_UNSPEC));
}
