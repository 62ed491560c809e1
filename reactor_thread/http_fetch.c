/* SPDX-License-Identifier: MIT
 *
 * What: pirn_http_fetch: a name looked up if there is one, one exchange (http_hop.c), and the same again for each
 *       redirect.
 *
 * Threads: the worker that asked; the exchanges the reactor's.
 * States: looking (pirn_resolve is out) -> moving (a hop is out) -> over, or looking again for a redirect. Numeric
 *       hosts and localhost skip the first. The first one's deferred is the caller's; it goes on with the others'.
 * Invariants: (1) no fetch starts a thread: names are pirn_resolve's, of each redirect, too; (2) user and password go
 *       to the origin (scheme, host, port) they were given for, and are forgotten when a redirect leaves it.
 * Choices: redirects are followed here and not by libcurl, which would look up their names on the reactor, and would
 *       repeat a PUT or DELETE after 303.
 */
#include <pirn/http.h>
#include <pirn/reactor.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "ascii.h"
#include "http_hop.h"
#include "tasklet.h"

#define PAGE_BYTES_DEFAULT ((size_t)16 << 20)

void pirn_http_page_drop(void *value) {
    pirn_http_page *page = value;
    if (page) {
        pn_free(page->content_type);
        pn_free(page->body);
        pn_free(page);
    }
}

/* ---- the way ---- */

static pirn_deferred *hop_over(void *context, pirn_result *result);

/* A hop failed or was cancelled, or a name is unknown. The failure goes on. */
static pirn_deferred *give_up(void *context, pirn_result *result) {
    (void)result;
    pn_http_plan_release(context);
    return NULL;
}

/* Takes over the home's hold on `plan`, and the addresses. NULL: no memory. */
static pirn_deferred *move(pn_http_plan *plan, pirn_addresses *addresses) {
    pirn_deferred *moving = pn_http_hop_submit(plan, addresses);
    if (moving && pirn_deferred_add_callbacks(moving, hop_over, give_up, plan) == 0) {
        return moving;
    }
    if (moving) {
        (void)pirn_deferred_cancel(moving);
        pirn_deferred_release(moving);
    }
    pn_http_plan_release(plan);
    return NULL;
}

static pirn_deferred *name_found(void *context, pirn_result *result) {
    pirn_addresses *addresses = result->value;
    *result = (pirn_result){0};
    pirn_deferred *moving = move(context, addresses);
    if (!moving) {
        (void)pirn_result_fail(result, PIRN_ENOMEM, "no memory for a fetch");
    }
    return moving;
}

/* Whether libcurl knows the addresses of `host` without asking anybody: numbers, and localhost, which it never looks
 * up. */
static bool needs_no_lookup(const char *host) {
    struct in_addr address;
    size_t bytes = strlen(host);
    static const char local[] = ".localhost";
    size_t local_bytes = sizeof local - 1;
    return host[0] == '[' || inet_pton(AF_INET, host, &address) == 1 || pn_ascii_equal(host, "localhost") ||
           (bytes > local_bytes && pn_ascii_equal(host + bytes - local_bytes, local));
}

/* Start the next hop. Takes over the home's hold on `plan`. NULL: no memory, or no worker here. */
static pirn_deferred *go(pn_http_plan *plan) {
    const pn_http_url *url = &plan->url;
    if (needs_no_lookup(url->host)) {
        return move(plan, NULL);
    }
    pirn_deferred *looking = pirn_resolve(url->host, url->port, AF_UNSPEC);
    if (looking && pirn_deferred_add_callbacks(looking, name_found, give_up, plan) == 0) {
        return looking;
    }
    pirn_deferred_release(looking);
    pn_http_plan_release(plan);
    return NULL;
}

/* ---- redirects ---- */

static void become_get(pn_http_plan *plan) {
    pn_free(plan->method);
    pn_free(plan->body);
    pn_free(plan->content_type);
    plan->method = plan->body = plan->content_type = NULL;
    plan->body_bytes = 0;
}

/* The method after a redirect (RFC 9110, 15.4): 303 makes GET of all but GET and HEAD, 301 and 302 of POST; 307 and 308
 * repeat method and body. */
static void change_method(pn_http_plan *plan, int status) {
    const char *method = plan->method ? plan->method : plan->body ? "POST" : "GET";
    bool post = strcmp(method, "POST") == 0;
    bool reads = strcmp(method, "HEAD") == 0 || (strcmp(method, "GET") == 0 && !plan->body);
    if ((status == 303 && !reads) || ((status == 301 || status == 302) && post)) {
        become_get(plan);
    }
}

/* Let `plan` go where `location` leads. NULL; or what is wrong. */
static const char *turn(pn_http_plan *plan, const char *location) {
    pn_http_url next;
    const char *wrong = pn_http_url_parse(&next, &plan->url, location);
    if (wrong) {
        return wrong;
    }
    if (!next.user && !next.password && pn_http_url_same_origin(&plan->url, &next)) {
        next.user = plan->url.user;
        next.password = plan->url.password;
        plan->url.user = plan->url.password = NULL;
    }
    pn_http_url_fini(&plan->url);
    plan->url = next;
    plan->redirects++;
    return NULL;
}

/* Home: a page has come, the last one or a redirect. */
static pirn_deferred *hop_over(void *context, pirn_result *result) {
    pn_http_plan *plan = context;
    pn_http_hop_page *came = result->value;
    if (!came->location) {
        result->drop = pirn_http_page_drop;
        pn_http_plan_release(plan);
        return NULL;
    }
    char *location = came->location, most[64], shown[PN_URL_SHOWN_BYTES];
    int status = came->page.status;
    came->location = NULL;
    pirn_result_drop(result);
    const char *wrong = NULL;
    if (plan->redirects >= plan->redirects_max) {
        (void)snprintf(most, sizeof most, "more than redirects_max, %u", plan->redirects_max);
        wrong = most;
    } else {
        wrong = turn(plan, location);
    }
    pirn_deferred *next = NULL;
    if (wrong) {
        (void)pirn_result_fail(result, PIRN_EHTTP, "%.120s: redirect to %s: %s", plan->url.text,
                               pn_http_url_show(location, shown), wrong);
        pn_http_plan_release(plan);
    } else {
        change_method(plan, status);
        next = go(plan);
        if (!next) {
            (void)pirn_result_fail(result, PIRN_ENOMEM, "no memory for a fetch");
        }
    }
    pn_free(location);
    return next;
}

/* A method is a token (RFC 9110), a content type one line. Curl would send what it is given. */
static const char *check_words(const pn_http_plan *asked) {
    if (asked->method &&
        (asked->method[0] == '\0' ||
         asked->method[strspn(asked->method, "!#$%&'*+-.^_`|~0123456789"
                                             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")])) {
        return "the method is no token";
    }
    if (asked->content_type && strpbrk(asked->content_type, "\r\n")) {
        return "the content type has a line break";
    }
    return NULL;
}

/* ---- the call ---- */

/* A copy of an optional string; false: no memory. */
static bool copy(char **to, const char *from) {
    *to = from ? pn_strdup(from) : NULL;
    return !from || *to;
}

/* The request with everything copied; NULL: no memory. */
static pn_http_plan *copy_request(const pirn_fetch_options *wanted) {
    pn_http_plan *asked = pn_calloc(1, sizeof *asked);
    if (!asked) {
        return NULL;
    }
    asked->body_bytes = wanted->body ? wanted->body_bytes : 0;
    asked->page_bytes_max = wanted->page_bytes_max ? wanted->page_bytes_max : PAGE_BYTES_DEFAULT;
    asked->redirects_max = wanted->redirects_max;
    pn_below->store(&asked->holds, 1);
    bool copied = copy(&asked->method, wanted->method) && copy(&asked->content_type, wanted->content_type);
    if (copied && wanted->body) {
        asked->body = pn_malloc(asked->body_bytes + 1);
        copied = asked->body;
        if (copied) {
            memcpy(asked->body, wanted->body, asked->body_bytes);
        }
    }
    if (!copied) {
        pn_http_plan_release(asked);
        return NULL;
    }
    return asked;
}

pirn_deferred *pirn_http_fetch(const char *url, const pirn_fetch_options *options) {
    static const pirn_fetch_options defaults;
    pn_http_plan *asked = copy_request(options ? options : &defaults);
    if (!asked) {
        return NULL;
    }
    const char *wrong = check_words(asked);
    if (!wrong) {
        wrong = pn_http_url_parse(&asked->url, NULL, url);
    }
    if (wrong) {
        char shown[PN_URL_SHOWN_BYTES];
        pirn_failure *failure = pirn_failure_make(PIRN_EHTTP, "%s: %s", pn_http_url_show(url, shown), wrong);
        pn_http_plan_release(asked);
        return pirn_deferred_fail_now(failure);
    }
    pirn_deferred *page = go(asked);
    if (!page) {
        pn_tasklet_was_refused();
    }
    return page;
}
