/* SPDX-License-Identifier: MIT
 *
 * What: see bridge/address.h.
 * Threads: any; no state.
 */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_BYTES (INET6_ADDRSTRLEN + 1 + IF_NAMESIZE) /* "fe80::1%eth0" and its terminator */

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

/* The zone of a link-local address: an interface's name or number. 0 or -ENODEV. */
static int parse_zone(const char *zone, uint32_t *number) {
    char *end;
    *number = if_nametoindex(zone);
    if (*number == 0 && *zone >= '0' && *zone <= '9') {
        char name[IF_NAMESIZE];
        unsigned long value = strtoul(zone, &end, 10);
        *number = *end == '\0' && value <= UINT32_MAX && if_indextoname((unsigned)value, name) ? (uint32_t)value : 0;
    }
    return *number ? 0 : -ENODEV;
}

int pn_address_parse_ipv6(const char *host, struct sockaddr_in6 *address) {
    char plain[INET6_ADDRSTRLEN];
    size_t length = strcspn(host, "%");
    if (length >= sizeof plain) {
        return PIRN_EINVAL;
    }
    memcpy(plain, host, length);
    plain[length] = '\0';
    if (inet_pton(AF_INET6, plain, &address->sin6_addr) != 1 || (host[length] == '%' && !host[length + 1])) {
        return PIRN_EINVAL;
    }
    return host[length] == '%' ? parse_zone(host + length + 1, &address->sin6_scope_id) : 0;
}

int pn_address_parse(const char *text, struct sockaddr_storage *address, socklen_t *address_bytes) {
    char host[HOST_BYTES];
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
        return pn_address_parse_ipv6(host, v6);
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

/* "", or "%eth0", or "%7" for an interface that is gone. */
static void format_zone(uint32_t number, char text[1 + IF_NAMESIZE]) {
    text[0] = '\0';
    if (number) {
        text[0] = '%';
        if (!if_indextoname(number, text + 1)) {
            snprintf(text + 1, IF_NAMESIZE, "%u", (unsigned)number);
        }
    }
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
        char zone[1 + IF_NAMESIZE];
        format_zone(v6->sin6_scope_id, zone);
        snprintf(text, text_bytes, "[%s%s]:%d", host, zone, pn_address_port(address));
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
