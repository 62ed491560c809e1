/* SPDX-License-Identifier: MIT
 *
 * What: the request's memory, and the public questions a handler may ask about it.
 *
 * Threads: the request tasklet, once the connection tasklet has handed it over.
 * Invariants: (1) every string is terminated and lives as long as the exchange.
 * Rejected: a hash table of fields: there are at most a hundred, a handler asks for one or two, and an array cannot
 *       be flooded.
 */
#include "http_request.h"

#include <string.h>

#include "alloc.h"
#include "ascii.h"
#include "http_exchange.h"
#include "http_text.h"

pn_http_request *pn_http_request_create(unsigned field_max, size_t head_bytes, char **head) {
    size_t fields_bytes = field_max * sizeof(pn_http_field);
    pn_http_request *request = pn_malloc(sizeof *request + fields_bytes + head_bytes + 1);
    if (!request) {
        return NULL;
    }
    memset(request, 0, sizeof *request);
    request->field_max = field_max;
    *head = (char *)request + sizeof *request + fields_bytes;
    (*head)[head_bytes] = '\0';
    return request;
}

void pn_http_request_destroy(pn_http_request *request) {
    if (request) {
        pn_free(request->body);
        pn_free(request);
    }
}

const pn_http_field *pn_http_request_field(const pn_http_request *request, const char *name, unsigned from) {
    size_t bytes = strlen(name);
    for (unsigned i = from; i < request->field_count; i++) {
        const pn_http_field *field = &request->fields[i];
        if (field->name_bytes == bytes && pn_ascii_equal_bytes(field->name, name, bytes)) {
            return field;
        }
    }
    return NULL;
}

const char *pirn_http_method(const pirn_http_exchange *exchange) {
    return exchange->request->method;
}

const char *pirn_http_path(const pirn_http_exchange *exchange) {
    return exchange->request->path;
}

const char *pirn_http_query(const pirn_http_exchange *exchange) {
    return exchange->request->query;
}

const char *pirn_http_header(const pirn_http_exchange *exchange, const char *name) {
    const pn_http_field *field = pn_http_request_field(exchange->request, name, 0);
    return field ? field->value : NULL;
}

const void *pirn_http_body(const pirn_http_exchange *exchange, size_t *bytes) {
    *bytes = exchange->request->body_bytes;
    return exchange->request->body;
}

const char *pirn_http_peer(const pirn_http_exchange *exchange) {
    /* Asked for by few handlers, so looked up when asked; the cast writes only this cache. */
    pirn_http_exchange *cache = (pirn_http_exchange *)exchange;
    bool loopback;
    if (!cache->peer[0] && pirn_socket_peer(cache->socket, cache->peer, sizeof cache->peer, &loopback) != 0) {
        memcpy(cache->peer, "?", 2);
    }
    return cache->peer;
}

int pirn_http_query_field(const pirn_http_exchange *exchange, const char *name, char *value, size_t value_bytes) {
    const char *query = exchange->request->query;
    return pn_http_urlencoded(query, strlen(query), name, value, value_bytes);
}

int pirn_http_form_field(const pirn_http_exchange *exchange, const char *name, char *value, size_t value_bytes) {
    const pn_http_request *request = exchange->request;
    const char *type = pirn_http_header(exchange, "Content-Type");
    /* A media type ends at its parameters: "application/x-www-form-urlencoded; charset=utf-8". */
    if (type && !pn_ascii_is(type, strcspn(type, "; \t"), "application/x-www-form-urlencoded")) {
        return PIRN_EINVAL;
    }
    return pn_http_urlencoded(request->body ? request->body : "", request->body_bytes, name, value, value_bytes);
}
