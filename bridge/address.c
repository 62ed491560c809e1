/* SPDX-License-Identifier: MIT
 *
 * What: see bridge/address.h.
 * Threads: any; no state.
 */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_port(const char *text, int *port) {
    char *end;
    if (*text < '0' || *text > '9') {
        return PIRN_EINVAL;
    }
    long value = strtol(text, &end, 10);
    if (*end != '\0' || value > 65535) {
        return PIRN_EINVAL;
    }
    *port = (int)value;
    return 0;
}

int pn_address_parse(const char *text, struct sockaddr_storage *address, socklen_t *address_bytes) {
    char host[INET6_ADDRSTRLEN];
    const char *colon = text ? strrchr(text, ':') : NULL;
    if (!colon) {
        return PIRN_EINVAL;
    }
    bool bracketed = text[0] == '[' && colon > text && colon[-1] == ']';
    const char *first = bracketed ? text + 1 : text;
    const char *last = bracketed ? colon - 1 : colon;
    int port;
    if ((size_t)(last - first) >= sizeof host || parse_port(colon + 1, &port) != 0) {
        return PIRN_EINVAL;
    }
    memcpy(host, first, (size_t)(last - first));
    host[last - first] = '\0';
    memset(address, 0, sizeof *address);
    if (bracketed) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *address_bytes = sizeof *v6;
        return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1 ? 0 : PIRN_EINVAL;
    }
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    *address_bytes = sizeof *v4;
    return inet_pton(AF_INET, host, &v4->sin_addr) == 1 ? 0 : PIRN_EINVAL;
}

static bool is_loopback6(const struct in6_addr *address) {
    if (IN6_IS_ADDR_V4MAPPED(address)) {
        return address->s6_addr[12] == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(address);
}

void pn_address_format(const struct sockaddr *address, char *text, size_t text_bytes, bool *loopback) {
    char host[INET6_ADDRSTRLEN] = "?";
    bool local = false;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        local = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
        snprintf(text, text_bytes, "%s:%d", host, pn_address_port(address));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        local = is_loopback6(&v6->sin6_addr);
        snprintf(text, text_bytes, "[%s]:%d", host, pn_address_port(address));
    } else {
        snprintf(text, text_bytes, "?");
    }
    if (loopback) {
        *loopback = local;
    }
}

int pn_address_port(const struct sockaddr *address) {
    return address->sa_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port)
                                          : ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

void pn_address_set_port(struct sockaddr *address, int port) {
    if (address->sa_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons((uint16_t)port);
    } else {
        ((struct sockaddr_in *)(void *)address)->sin_port = htons((uint16_t)port);
    }
}
