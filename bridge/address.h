/* SPDX-License-Identifier: MIT
 *
 * What: numeric socket addresses to and from text.
 * Threads: any.
 */
#ifndef PN_ADDRESS_H
#define PN_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base.h"

/* "127.0.0.1:8080", "[::1]:0" or, with a zone, "[fe80::1%eth0]:80" and "[fe80::1%2]:80". 0; PIRN_EINVAL; -ENODEV: no
 * interface has the zone's name or number. */
int pn_address_parse(const char *text, struct sockaddr_storage *address, socklen_t *address_bytes);
/* "fe80::1%eth0": fill in the address and its zone. Codes as above. */
int pn_address_parse_ipv6(const char *host, struct sockaddr_in6 *address);
/* The same way back; "?" for what is neither IPv4 nor IPv6. `loopback` NULL: not asked. */
void pn_address_format(const struct sockaddr *address, char *text, size_t text_bytes, bool *loopback);
/* The port in host order. */
int pn_address_port(const struct sockaddr *address);
void pn_address_set_port(struct sockaddr *address, int port);

#endif
