/* SPDX-License-Identifier: MIT
 *
 * What: pirn_http_fetch: a name looked up if there is one, one request to the reactor, one transfer of libcurl, one
 *       page.
 *
 * Threads: pirn_http_fetch and the name's answer: the worker that asked; the rest the reactor's.
 * States: looking (pirn_resolve is out) -> moving (a request, with a transfer in the engine) -> over. Numeric hosts and
 *       localhost skip the first. The lookup's deferred is the caller's; it goes on with the request's.
 * Invariants: (1) no fetch starts a thread: names are pirn_resolve's, and given to curl with CURLOPT_RESOLVE, which
 *       leaves Host, SNI and certificate checks at the name; the one exception is a redirect to another name, which
 *       curl resolves itself; (2) a page never grows beyond its bound.
 * Choices: HTTP/1.1 only; no proxies from the environment (as Twisted's getPage), so that a fetch goes where its URL
 *       says; http and https only, in redirects too.
 */
#include <pirn/http.h>
#include <pirn/reactor.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "ascii.h"
#include "http_engine.h"
#include "request.h"

#define PAGE_BYTES_DEFAULT ((size_t)16 << 20)
#define PAGE_BYTES_FIRST   ((size_t)4096)
#define ADDRESSES_MAX      8
#define USER_AGENT         "pirn/0.1"

typedef struct fetch {
    pn_request request;
    /* immutable after submit */
    char *url, *method, *content_type; /* method, content_type: NULL for the default                   */
    char *body;                        /* NULL: none                                                  */
    size_t body_bytes, page_bytes_max;
    unsigned redirects_max;
    char *host, *port;           /* of the URL; curl's memory                                    */
    struct curl_slist *resolved; /* the host's addresses; NULL: curl needs none                  */
    /* reactor only */
    CURL *easy;
    pn_http_transfer transfer;
    struct curl_slist *fields;
    char *page;
    size_t page_bytes, page_room;
    bool too_long, no_memory;
    char error[CURL_ERROR_SIZE];
} fetch;

/* ---- the page ---- */

void pirn_http_page_drop(void *value) {
    pirn_http_page *page = value;
    if (page) {
        pn_free(page->content_type);
        pn_free(page->body);
        pn_free(page);
    }
}

/* Room for `bytes` more and the terminating NUL. */
static bool grow_page(fetch *asked, size_t bytes) {
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
    fetch *asked = context;
    (void)one; /* always 1 */
    if (bytes > asked->page_bytes_max - asked->page_bytes) {
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

static void give_page(fetch *asked) {
    pirn_http_page *page = pn_calloc(1, sizeof *page);
    const char *type = NULL;
    long status = 0;
    (void)curl_easy_getinfo(asked->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(asked->easy, CURLINFO_CONTENT_TYPE, &type);
    char *type_copy = pn_strdup(type ? type : "");
    if (!page || !type_copy || !grow_page(asked, 0)) {
        pn_free(page);
        pn_free(type_copy);
        (void)pirn_result_fail(&asked->request.result, PIRN_ENOMEM, "%.100s: no memory for the page", asked->url);
        return;
    }
    asked->page[asked->page_bytes] = '\0';
    page->status = (int)status;
    page->body_bytes = asked->page_bytes;
    page->body = asked->page;
    page->content_type = type_copy;
    asked->page = NULL;
    asked->request.result = (pirn_result){.value = page, .drop = pirn_http_page_drop};
}

/* ---- the end ---- */

static void finish(fetch *asked) {
    curl_easy_cleanup(asked->easy); /* NULL is allowed; after the page has taken what it needs */
    asked->easy = NULL;
    pn_request_finish(&asked->request);
}

static void fail(fetch *asked, int code, const char *why) {
    (void)pirn_result_fail(&asked->request.result, code, "%.120s: %s", asked->url, why);
    finish(asked);
}

static void transfer_done(pn_http_transfer *transfer, CURLcode code) {
    fetch *asked = PN_CONTAINER_OF(transfer, fetch, transfer);
    if (code == CURLE_OK) {
        give_page(asked);
        finish(asked);
    } else if (asked->too_long) {
        char why[64];
        (void)snprintf(why, sizeof why, "longer than page_bytes_max, %zu bytes", asked->page_bytes_max);
        fail(asked, PIRN_ELIMIT, why);
    } else if (code == CURLE_OUT_OF_MEMORY || asked->no_memory) {
        fail(asked, PIRN_ENOMEM, "no memory");
    } else if (code == CURLE_COULDNT_RESOLVE_HOST) {
        fail(asked, PIRN_EDNS, asked->error[0] ? asked->error : curl_easy_strerror(code));
    } else {
        fail(asked, PIRN_EHTTP, asked->error[0] ? asked->error : curl_easy_strerror(code));
    }
}

static void stop(pn_request *request) {
    fetch *asked = PN_CONTAINER_OF(request, fetch, request);
    pn_http_engine_remove(&asked->transfer);
    finish(asked);
}

static void destroy(pn_request *request) {
    fetch *asked = PN_CONTAINER_OF(request, fetch, request);
    curl_slist_free_all(asked->resolved);
    curl_slist_free_all(asked->fields);
    curl_free(asked->host);
    curl_free(asked->port);
    pn_free(asked->page);
    pn_free(asked->url);
    pn_free(asked->method);
    pn_free(asked->content_type);
    pn_free(asked->body);
    pn_free(asked);
}

/* ---- the transfer ---- */

/* Header fields of our own; false: no memory. */
static bool set_fields(fetch *asked) {
    /* Curl would wait a second for a 100 Continue that few servers send. */
    asked->fields = curl_slist_append(NULL, "Expect:");
    if (asked->fields && asked->content_type) {
        size_t bytes = strlen(asked->content_type) + sizeof "Content-Type: ";
        char *field = pn_malloc(bytes);
        if (!field) {
            return false;
        }
        (void)snprintf(field, bytes, "Content-Type: %s", asked->content_type);
        struct curl_slist *longer = curl_slist_append(asked->fields, field);
        pn_free(field);
        if (!longer) {
            return false;
        }
    }
    return asked->fields && curl_easy_setopt(asked->easy, CURLOPT_HTTPHEADER, asked->fields) == CURLE_OK;
}

/* What the request says; curl names GET and POST itself, so that redirects may change one into the other. */
static CURLcode set_request(fetch *asked) {
    CURL *easy = asked->easy;
    CURLcode code = CURLE_OK;
    bool post = asked->method && strcmp(asked->method, "POST") == 0;
    bool get = asked->method && strcmp(asked->method, "GET") == 0;
    if (asked->method && strcmp(asked->method, "HEAD") == 0) {
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    if (asked->body || post) {
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)asked->body_bytes);
        code = curl_easy_setopt(easy, CURLOPT_POSTFIELDS, asked->body ? asked->body : "");
        if (code == CURLE_OK && asked->method && !post) {
            code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, asked->method);
        }
    } else if (asked->method && !get) {
        code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, asked->method);
    }
    return code;
}

/* The options whose values curl copies may fail for memory; plain numbers and our own pointers cannot. */
static CURLcode set_options(fetch *asked) {
    CURL *easy = asked->easy;
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, asked->error);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_piece);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, asked);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, asked->redirects_max > 0 ? 1L : 0L);
    (void)curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)asked->redirects_max);
    if (asked->resolved) {
        (void)curl_easy_setopt(easy, CURLOPT_RESOLVE, asked->resolved);
    }
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, asked->url);
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
    if (code == CURLE_OK) {
        code = curl_easy_setopt(easy, CURLOPT_USERAGENT, USER_AGENT);
    }
    return code == CURLE_OK ? set_request(asked) : code;
}

static void begin(pn_request *request) {
    fetch *asked = PN_CONTAINER_OF(request, fetch, request);
    if (pn_http_engine_start(transfer_done) != 0) {
        fail(asked, PIRN_ENOMEM, "libcurl could not be started");
        return;
    }
    asked->easy = curl_easy_init();
    if (!asked->easy || set_options(asked) != CURLE_OK || !set_fields(asked)) {
        fail(asked, PIRN_ENOMEM, "no memory");
        return;
    }
    CURLMcode code = pn_http_engine_add(&asked->transfer, asked->easy);
    if (code != CURLM_OK) {
        fail(asked, PIRN_EHTTP, curl_multi_strerror(code));
    }
}

static const pn_request_kind kind = {"pirn_http_fetch", begin, stop, destroy};

/* ---- the name ---- */

/* "+host:port:address,[address]": the plus lets curl forget it in time. False: no memory. */
static bool keep_addresses(fetch *asked, const pirn_addresses *addresses) {
    char entry[512 + ADDRESSES_MAX * (INET6_ADDRSTRLEN + 3)];
    int length = snprintf(entry, 512, "+%s:%s:", asked->host, asked->port);
    PN_ASSERT(length > 0 && length < 512); /* the resolver takes no longer names */
    for (size_t i = 0; i < addresses->count && i < ADDRESSES_MAX; i++) {
        const struct sockaddr_storage *address = &addresses->address[i];
        bool six = address->ss_family == AF_INET6;
        const void *number = six ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
                                 : &((const struct sockaddr_in *)(const void *)address)->sin_addr;
        char text[INET6_ADDRSTRLEN] = "";
        if (inet_ntop(address->ss_family, number, text, sizeof text)) {
            length += snprintf(entry + length, sizeof entry - (size_t)length, six ? "%s[%s]" : "%s%s", i > 0 ? "," : "",
                               text);
        }
    }
    asked->resolved = curl_slist_append(NULL, entry);
    return asked->resolved;
}

/* Home: go on with the request. */
static pirn_deferred *name_found(void *context, pirn_result *result) {
    fetch *asked = context;
    bool kept = keep_addresses(asked, result->value);
    pirn_result_drop(result);
    pirn_deferred *moving = NULL;
    if (kept) {
        moving = pn_request_submit(&asked->request, &kind, __FILE__, __LINE__);
    } else {
        destroy(&asked->request);
    }
    if (!moving) {
        (void)pirn_result_fail(result, PIRN_ENOMEM, "no memory for a fetch");
    }
    return moving;
}

/* Home: unknown, or cancelled. The failure goes on. */
static pirn_deferred *name_not_found(void *context, pirn_result *result) {
    (void)result;
    fetch *asked = context;
    destroy(&asked->request);
    return NULL;
}

static pirn_deferred *look_up_first(fetch *asked) {
    pirn_deferred *looking = pirn_resolve(asked->host, asked->port, AF_UNSPEC);
    if (looking && pirn_deferred_add_callbacks(looking, name_found, name_not_found, asked) == 0) {
        return looking;
    }
    pirn_deferred_release(looking);
    destroy(&asked->request);
    return NULL;
}

/* Whether curl knows the addresses of `host` without asking anybody: numbers, and localhost, which it never looks
 * up. */
static bool needs_no_lookup(const char *host) {
    struct in_addr address;
    size_t bytes = strlen(host);
    static const char local[] = ".localhost";
    size_t local_bytes = sizeof local - 1;
    return host[0] == '[' || inet_pton(AF_INET, host, &address) == 1 || pn_ascii_equal(host, "localhost") ||
           (bytes > local_bytes && pn_ascii_equal(host + bytes - local_bytes, local));
}

/* Find scheme, host and port. NULL: fine; else what is wrong. */
static const char *take_apart(fetch *asked) {
    CURLU *parts = curl_url();
    char *scheme = NULL;
    if (!parts) {
        return "no memory";
    }
    CURLUcode code = curl_url_set(parts, CURLUPART_URL, asked->url, 0);
    if (code == CURLUE_OK) {
        code = curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
    }
    if (code == CURLUE_OK) {
        code = curl_url_get(parts, CURLUPART_HOST, &asked->host, CURLU_PUNYCODE);
    }
    if (code == CURLUE_OK) {
        code = curl_url_get(parts, CURLUPART_PORT, &asked->port, CURLU_DEFAULT_PORT);
    }
    const char *wrong = code == CURLUE_OK ? NULL : curl_url_strerror(code);
    if (!wrong && strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        wrong = "only http and https are served";
    }
    curl_free(scheme);
    curl_url_cleanup(parts);
    return wrong;
}

/* A method is a token (RFC 9110), a content type one line. Curl would send what it is given. */
static const char *check_words(const fetch *asked) {
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
static fetch *copy_request(const char *url, const pirn_fetch_options *wanted) {
    fetch *asked = pn_calloc(1, sizeof *asked);
    if (!asked) {
        return NULL;
    }
    asked->body_bytes = wanted->body ? wanted->body_bytes : 0;
    asked->page_bytes_max = wanted->page_bytes_max ? wanted->page_bytes_max : PAGE_BYTES_DEFAULT;
    asked->redirects_max = wanted->redirects_max;
    bool copied = copy(&asked->url, url) && copy(&asked->method, wanted->method) &&
                  copy(&asked->content_type, wanted->content_type);
    if (copied && wanted->body) {
        asked->body = pn_malloc(asked->body_bytes + 1);
        copied = asked->body;
        if (copied) {
            memcpy(asked->body, wanted->body, asked->body_bytes);
        }
    }
    if (!copied) {
        destroy(&asked->request);
        return NULL;
    }
    return asked;
}

pirn_deferred *pirn_http_fetch(const char *url, const pirn_fetch_options *options) {
    static const pirn_fetch_options defaults;
    fetch *asked = copy_request(url, options ? options : &defaults);
    if (!asked) {
        return NULL;
    }
    const char *wrong = check_words(asked);
    if (!wrong) {
        wrong = take_apart(asked);
    }
    if (wrong) {
        pirn_failure *failure = pirn_failure_make(PIRN_EHTTP, "%.120s: %s", url, wrong);
        destroy(&asked->request);
        return pirn_deferred_fail_now(failure);
    }
    if (needs_no_lookup(asked->host)) {
        return pn_request_submit(&asked->request, &kind, __FILE__, __LINE__);
    }
    return look_up_first(asked);
}
