/* SPDX-License-Identifier: MIT
 *
 * What: one exchange: what libcurl is told, the page it brings, and where a redirect leads to.
 *
 * Threads: pn_http_hop_submit a worker; the last hold may end anywhere; the rest the reactor's.
 * Invariants: (1) libcurl never looks up a name: a host's addresses are given to it with CURLOPT_RESOLVE, which leaves
 *       Host, SNI and certificate checks at the name; and should libcurl not find them, its lookup is refused, not
 *       begun; (2) libcurl never follows a redirect; (3) a page never grows beyond its bound; (4) user and password are
 *       in no URL that libcurl or a message gets.
 *       A host's addresses are tried one of each family at a time: given more, libcurl 7.88 stands still after the
 *       second that refuses, until its timeout.
 * Choices: HTTP/1.1 only; no proxies from the environment (as Twisted's getPage), so that a fetch goes where its URL
 *       says. An exchange on a connection that was used before and that ended before any byte of an answer is made once
 *       more on a new connection, whatever its method: the server had closed the connection, as it may at any time.
 */
#include "http_hop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "http_engine.h"
#include "request.h"

#define PAGE_BYTES_FIRST ((size_t)4096)
#define USER_AGENT       "pirn/0.1"
/* How long libcurl keeps the addresses it is given, for a second attempt. */
#define ADDRESSES_SECONDS 600L
/* How long an address may take to connect while there are others. */
#define CONNECT_SECONDS 20L

typedef struct hop {
    pn_request request;
    /* immutable after submit */
    pn_http_plan *plan;
    pirn_addresses *addresses; /* NULL: libcurl needs none */
    /* reactor only */
    CURL *easy;
    pn_http_transfer transfer;
    struct curl_slist *fields, *resolved;
    char *page;
    size_t page_bytes, page_room;
    size_t next_six, next_four; /* indices in `addresses` */
    bool too_long, no_memory, tried_again;
    char error[CURL_ERROR_SIZE];
} hop;

/* ---- the page ---- */

static void drop_hop_page(void *value) {
    pn_http_hop_page *made = value;
    pn_free(made->location);
    pirn_http_page_drop(&made->page);
}

/* The Location of a redirect that is to be followed; NULL: none. Libcurl's memory. */
static const char *location_of(const hop *asked) {
    long status = 0;
    struct curl_header *field = NULL;
    (void)curl_easy_getinfo(asked->easy, CURLINFO_RESPONSE_CODE, &status);
    bool moved = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (!moved || asked->plan->redirects_max == 0 ||
        curl_easy_header(asked->easy, "Location", 0, CURLH_HEADER, -1, &field) != CURLHE_OK || !field->value[0]) {
        return NULL;
    }
    return field->value;
}

static bool is_redirect(const hop *asked) {
    return location_of(asked) != NULL;
}

/* Room for `bytes` more and the terminating NUL. */
static bool grow_page(hop *asked, size_t bytes) {
    size_t wanted = asked->page_bytes + bytes + 1;
    if (wanted <= asked->page_room) {
        return true;
    }
    size_t room = asked->page_room ? asked->page_room : PAGE_BYTES_FIRST;
    while (room < wanted) {
        room *= 2;
    }
    char *grown = pn_realloc(asked->page, room);
    if (!grown) {
        return false;
    }
    asked->page = grown;
    asked->page_room = room;
    return true;
}

/* Curl: a piece of the body. Another return than its length fails the transfer. */
static size_t take_piece(char *data, size_t one, size_t bytes, void *context) {
    hop *asked = context;
    (void)one; /* always 1 */
    if (is_redirect(asked)) {
        return bytes; /* nobody sees this body */
    }
    if (bytes > asked->plan->page_bytes_max - asked->page_bytes) {
        asked->too_long = true;
        return 0;
    }
    if (!grow_page(asked, bytes)) {
        asked->no_memory = true;
        return 0;
    }
    memcpy(asked->page + asked->page_bytes, data, bytes);
    asked->page_bytes += bytes;
    return bytes;
}

static void give_page(hop *asked) {
    pn_http_hop_page *made = pn_calloc(1, sizeof *made);
    const char *type = NULL, *location = location_of(asked);
    long status = 0;
    (void)curl_easy_getinfo(asked->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(asked->easy, CURLINFO_CONTENT_TYPE, &type);
    char *type_copy = pn_strdup(type ? type : "");
    char *location_copy = location ? pn_strdup(location) : NULL;
    if (!made || !type_copy || (location && !location_copy) || !grow_page(asked, 0)) {
        pn_free(made);
        pn_free(type_copy);
        pn_free(location_copy);
        (void)pirn_result_fail(&asked->request.result, PIRN_ENOMEM, "%.120s: no memory for the page",
                               asked->plan->url.text);
        return;
    }
    asked->page[asked->page_bytes] = '\0';
    made->page = (pirn_http_page){
        .status = (int)status, .body_bytes = asked->page_bytes, .content_type = type_copy, .body = asked->page};
    made->location = location_copy;
    asked->page = NULL;
    asked->request.result = (pirn_result){.value = made, .drop = drop_hop_page};
}

/* ---- the end ---- */

static void finish(hop *asked) {
    curl_easy_cleanup(asked->easy); /* NULL is allowed; after the page has taken what it needs */
    asked->easy = NULL;
    pn_request_finish(&asked->request);
}

static void fail(hop *asked, int code, const char *why) {
    (void)pirn_result_fail(&asked->request.result, code, "%.120s: %s", asked->plan->url.text, why);
    finish(asked);
}

static bool begin_transfer(hop *asked) {
    char host[300];
    const pn_http_url *url = &asked->plan->url;
    (void)snprintf(host, sizeof host, "%s%%%s:%s", url->host, url->zone ? url->zone : "", url->port);
    return pn_http_engine_add(&asked->transfer, asked->easy, host) == 0;
}

/* A connection that was used before has ended, and nothing came. Libcurl tries again by itself when it was reading, but
 * not when it was sending a body. */
static bool try_again(hop *asked, CURLcode code) {
    long connects = 0, head_bytes = 0;
    (void)curl_easy_getinfo(asked->easy, CURLINFO_NUM_CONNECTS, &connects);
    (void)curl_easy_getinfo(asked->easy, CURLINFO_HEADER_SIZE, &head_bytes);
    bool ended = code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING;
    if (!ended || connects > 0 || head_bytes > 0 || asked->page_bytes > 0 || asked->tried_again) {
        return false;
    }
    asked->tried_again = true;
    (void)curl_easy_setopt(asked->easy, CURLOPT_FRESH_CONNECT, 1L);
    return begin_transfer(asked);
}

/* Curl: a name that it has no addresses of, which it would look up on a thread. */
static int refuse_lookup(void *state, void *reserved, void *context) {
    (void)state;
    (void)reserved;
    (void)context;
    return 1;
}

/* The next address of `family` that was not tried; NULL: none. */
static const struct sockaddr_storage *next_address(hop *asked, int family) {
    const pirn_addresses *addresses = asked->addresses;
    size_t *next = family == AF_INET6 ? &asked->next_six : &asked->next_four;
    while (*next < addresses->count) {
        const struct sockaddr_storage *address = &addresses->address[(*next)++];
        if (address->ss_family == family) {
            return address;
        }
    }
    return NULL;
}

static int print_address(char *text, size_t bytes, const struct sockaddr_storage *address, const char *before) {
    char number[INET6_ADDRSTRLEN] = "";
    bool six = address->ss_family == AF_INET6;
    const void *bits = six ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
                           : &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    (void)inet_ntop(address->ss_family, bits, number, sizeof number);
    return snprintf(text, bytes, six ? "%s[%s]" : "%s%s", before, number);
}

/* Give libcurl the next address of each family, as "+host:port:[address],address": the plus lets it forget them in
 * time. It tries both at once, nearly. False: none is left, or no memory. */
static bool set_addresses(hop *asked) {
    const struct sockaddr_storage *six = next_address(asked, AF_INET6), *four = next_address(asked, AF_INET);
    const pn_http_url *url = &asked->plan->url;
    size_t room = strlen(url->host) + strlen(url->port) + sizeof "+::" + 2 * (INET6_ADDRSTRLEN + sizeof ",[]");
    char *entry = six || four ? pn_malloc(room) : NULL;
    if (!entry) {
        return false;
    }
    int length = snprintf(entry, room, "+%s:%s:", url->host, url->port);
    if (six) {
        length += print_address(entry + length, room - (size_t)length, six, "");
    }
    if (four) {
        (void)print_address(entry + length, room - (size_t)length, four, six ? "," : "");
    }
    struct curl_slist *resolved = curl_slist_append(NULL, entry);
    pn_free(entry);
    if (!resolved) {
        return false;
    }
    curl_slist_free_all(asked->resolved);
    asked->resolved = resolved;
    bool more = asked->next_six < asked->addresses->count || asked->next_four < asked->addresses->count;
    (void)curl_easy_setopt(asked->easy, CURLOPT_CONNECTTIMEOUT, more ? CONNECT_SECONDS : 0L);
    (void)curl_easy_setopt(asked->easy, CURLOPT_RESOLVE, asked->resolved);
    (void)curl_easy_setopt(asked->easy, CURLOPT_RESOLVER_START_FUNCTION, refuse_lookup);
    (void)curl_easy_setopt(asked->easy, CURLOPT_DNS_CACHE_TIMEOUT, ADDRESSES_SECONDS);
    return true;
}

/* The addresses so far refused the connection, or did not answer: try the next. False: there are none. */
static bool try_next_address(hop *asked, CURLcode code) {
    curl_off_t connected_us = 0;
    (void)curl_easy_getinfo(asked->easy, CURLINFO_CONNECT_TIME_T, &connected_us);
    bool failed = code == CURLE_COULDNT_CONNECT || (code == CURLE_OPERATION_TIMEDOUT && connected_us == 0);
    return failed && asked->addresses && set_addresses(asked) && begin_transfer(asked);
}

static void transfer_done(pn_http_transfer *transfer, CURLcode code) {
    hop *asked = PN_CONTAINER_OF(transfer, hop, transfer);
    if (code == CURLE_OK) {
        give_page(asked);
        finish(asked);
    } else if (asked->too_long) {
        char why[64];
        (void)snprintf(why, sizeof why, "longer than page_bytes_max, %zu bytes", asked->plan->page_bytes_max);
        fail(asked, PIRN_ELIMIT, why);
    } else if (code == CURLE_OUT_OF_MEMORY || asked->no_memory) {
        fail(asked, PIRN_ENOMEM, "no memory");
    } else if (code == CURLE_COULDNT_RESOLVE_HOST) {
        fail(asked, PIRN_EDNS, asked->error[0] ? asked->error : curl_easy_strerror(code));
    } else if (!try_again(asked, code) && !try_next_address(asked, code)) {
        fail(asked, PIRN_EHTTP, asked->error[0] ? asked->error : curl_easy_strerror(code));
    }
}

static void stop(pn_request *request) {
    hop *asked = PN_CONTAINER_OF(request, hop, request);
    pn_http_engine_remove(&asked->transfer);
    finish(asked);
}

static void destroy(pn_request *request) {
    hop *asked = PN_CONTAINER_OF(request, hop, request);
    curl_slist_free_all(asked->resolved);
    curl_slist_free_all(asked->fields);
    pn_free(asked->addresses);
    pn_free(asked->page);
    pn_http_plan_release(asked->plan);
    pn_free(asked);
}

void pn_http_plan_release(pn_http_plan *plan) {
    if (pn_below->add(&plan->holds, UINT32_MAX) != 0) {
        return;
    }
    pn_http_url_fini(&plan->url);
    pn_free(plan->method);
    pn_free(plan->content_type);
    pn_free(plan->body);
    pn_free(plan);
}

/* ---- the transfer ---- */

static bool add_field(hop *asked, const char *field) {
    struct curl_slist *longer = curl_slist_append(asked->fields, field);
    if (longer) {
        asked->fields = longer;
    }
    return longer;
}

/* Header fields of our own; false: no memory. */
static bool set_fields(hop *asked) {
    const pn_http_plan *plan = asked->plan;
    /* Curl would wait a second for a 100 Continue that few servers send. */
    bool added = add_field(asked, "Expect:");
    if (added && plan->content_type) {
        size_t bytes = strlen(plan->content_type) + sizeof "Content-Type: ";
        char *field = pn_malloc(bytes);
        added = field;
        if (field) {
            (void)snprintf(field, bytes, "Content-Type: %s", plan->content_type);
            added = add_field(asked, field);
            pn_free(field);
        }
    } else if (added && !plan->body) {
        added = add_field(asked, "Content-Type:"); /* of no body */
    }
    return added && curl_easy_setopt(asked->easy, CURLOPT_HTTPHEADER, asked->fields) == CURLE_OK;
}

/* Whether a request without a body says that it has none (RFC 9110, 8.6). */
static bool expects_body(const char *method) {
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

/* What the request says. */
static CURLcode set_request(hop *asked) {
    const pn_http_plan *plan = asked->plan;
    CURL *easy = asked->easy;
    const char *method = plan->method ? plan->method : plan->body ? "POST" : "GET";
    if (strcmp(method, "HEAD") == 0) {
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    bool body = plan->body || expects_body(method);
    if (body) {
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)plan->body_bytes);
        CURLcode code = curl_easy_setopt(easy, CURLOPT_POSTFIELDS, plan->body ? plan->body : "");
        if (code != CURLE_OK) {
            return code;
        }
    }
    return strcmp(method, body ? "POST" : "GET") == 0 ? CURLE_OK
                                                      : curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

/* The options whose values curl copies; false: no memory. */
static bool set_texts(hop *asked) {
    const pn_http_url *url = &asked->plan->url;
    CURL *easy = asked->easy;
    return curl_easy_setopt(easy, CURLOPT_URL, url->text) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERAGENT, USER_AGENT) == CURLE_OK &&
           (!url->user || curl_easy_setopt(easy, CURLOPT_USERNAME, url->user) == CURLE_OK) &&
           (!url->password || curl_easy_setopt(easy, CURLOPT_PASSWORD, url->password) == CURLE_OK);
}

/* CURLOPT_RESOLVE has no place for the interface of a link-local address. */
static uint32_t scope_of(const pn_http_transfer *transfer, const struct in6_addr *wanted) {
    const hop *asked = PN_CONTAINER_OF(transfer, hop, transfer);
    for (size_t i = 0; asked->addresses && i < asked->addresses->count; i++) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)&asked->addresses->address[i];
        if (six->sin6_family == AF_INET6 && memcmp(&six->sin6_addr, wanted, sizeof *wanted) == 0) {
            return six->sin6_scope_id;
        }
    }
    return 0;
}

/* Plain numbers and our own pointers cannot fail. */
static bool set_options(hop *asked) {
    CURL *easy = asked->easy;
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, asked->error);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_piece);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, asked);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    asked->transfer.scope_of = scope_of;
    return set_texts(asked) && (!asked->addresses || set_addresses(asked)) && set_request(asked) == CURLE_OK &&
           set_fields(asked);
}

static void begin(pn_request *request) {
    hop *asked = PN_CONTAINER_OF(request, hop, request);
    if (pn_http_engine_start(transfer_done) != 0) {
        fail(asked, PIRN_ENOMEM, "libcurl could not be started");
        return;
    }
    asked->easy = curl_easy_init();
    if (!asked->easy || !set_options(asked) || !begin_transfer(asked)) {
        fail(asked, PIRN_ENOMEM, "no memory");
    }
}

static const pn_request_kind kind = {"pirn_http_fetch", begin, stop, destroy};

pirn_deferred *pn_http_hop_submit(pn_http_plan *plan, pirn_addresses *addresses) {
    hop *asked = pn_calloc(1, sizeof *asked);
    if (!asked) {
        pn_free(addresses);
        return NULL;
    }
    (void)pn_below->add(&plan->holds, 1);
    asked->plan = plan;
    asked->addresses = addresses;
    return pn_request_submit(&asked->request, &kind, __FILE__, __LINE__);
}
