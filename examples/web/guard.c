/* SPDX-License-Identifier: MIT
 *
 * What: whether a request of a browser comes from a page of ours. A page of another site can make a browser here send
 *       requests to us (cross-site requests), or have its own name resolve to our address and read our answers (DNS
 *       rebinding).
 * Threads: any; the flags do not change.
 * The rules: a Host field must name this site: a loopback name, the address of --listen, or a name of --allowed-host;
 *       where --listen is a wildcard, any numeric address, since no name was resolved for it. What speaks must come
 *       from the same origin, by Sec-Fetch-Site or Origin; a client that sends neither is no browser.
 */
#include "web.h"

#include <arpa/inet.h>
#include <string.h>

#define HOST_BYTES 256

/* Equal but for the case of ASCII letters, whatever the locale. */
static bool is_same(const char *one, const char *other, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        unsigned char a = (unsigned char)one[i], b = (unsigned char)other[i];
        a = a >= 'A' && a <= 'Z' ? a + 32 : a;
        b = b >= 'A' && b <= 'Z' ? b + 32 : b;
        if (a != b) {
            return false;
        }
    }
    return true;
}

static bool is_text(const char *one, const char *other) {
    return strlen(one) == strlen(other) && is_same(one, other, strlen(one));
}

static bool begins(const char *text, const char *with) {
    return strlen(text) >= strlen(with) && is_same(text, with, strlen(with));
}

/* The host of "host:port", without brackets, into `host`. False: it has no sensible form. */
static bool split_host(const char *text, size_t length, char host[HOST_BYTES]) {
    bool bracketed = length > 0 && text[0] == '[';
    const char *end = bracketed ? memchr(text, ']', length) : memchr(text, ':', length);
    const char *from = bracketed ? text + 1 : text;
    size_t bytes = end ? (size_t)(end - from) : bracketed ? HOST_BYTES : length;
    if (bytes == 0 || bytes >= HOST_BYTES) {
        return false;
    }
    memcpy(host, from, bytes);
    host[bytes] = '\0';
    return true;
}

static bool is_loopback(const char *host) {
    struct in_addr v4;
    return is_text(host, "localhost") || strcmp(host, "::1") == 0 ||
           (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

static bool is_numeric(const char *host) {
    unsigned char address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static bool is_listed(const char *list, const char *host) {
    size_t bytes = strlen(host);
    for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',') {
        if (strcspn(at, ",") == bytes && is_same(at, host, bytes)) {
            return true;
        }
    }
    return false;
}

static bool is_our_host(const web_site *site, const char *field) {
    char host[HOST_BYTES], own[HOST_BYTES];
    if (!split_host(field, strlen(field), host)) {
        return false;
    }
    bool has_own = split_host(site->flags.listen, strlen(site->flags.listen), own);
    bool wildcard = has_own && (strcmp(own, "0.0.0.0") == 0 || strcmp(own, "::") == 0);
    return is_loopback(host) || (has_own && is_text(own, host)) || (wildcard && is_numeric(host)) ||
           is_listed(site->flags.allowed_hosts, host);
}

bool guard_host(const web_site *site, const pirn_http_exchange *exchange) {
    const char *host = pirn_http_header(exchange, "Host");
    return !host || is_our_host(site, host); /* HTTP/1.0 without it: no browser */
}

/* "http://host:port" of the very host and port that the request names. */
static bool is_own_origin(const char *origin, const char *host) {
    size_t scheme = begins(origin, "http://") ? 7 : begins(origin, "https://") ? 8 : 0;
    return scheme > 0 && is_text(origin + scheme, host);
}

bool guard_speaker(const web_site *site, const pirn_http_exchange *exchange) {
    const char *fetch_site = pirn_http_header(exchange, "Sec-Fetch-Site");
    const char *origin = pirn_http_header(exchange, "Origin");
    const char *host = pirn_http_header(exchange, "Host");
    if (!fetch_site && !origin) {
        return true;
    }
    if (fetch_site && !is_text(fetch_site, "same-origin") && !is_text(fetch_site, "none")) {
        return false;
    }
    return host && is_our_host(site, host) && (!origin || is_own_origin(origin, host));
}
