/* SPDX-License-Identifier: MIT
 *
 * What: numeric socket addresses to and from text.
 * Threads: any.
 */
#ifndef PN_ADDRESS_H
#define PN_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base.h"

/* "127.0.0.1:8080" or "[::1]:0". 0 or PIRN_EINVAL. */
int pn_address_parse(const char *text, struct sockaddr_storage *address, socklen_t *address_bytes);
/* The same way back; "?" for what is neither IPv4 nor IPv6. `loopback` NULL: not asked. */
void pn_address_format(const struct sockaddr *address, char *text, size_t text_bytes, bool *loopback);
/* The port in host order. */
int pn_address_port(const struct sockaddr *address);
void pn_address_set_port(struct sockaddr *address, int port);

#endif
