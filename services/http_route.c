/* SPDX-License-Identifier: MIT
 *
 * What: routes are an array looked through from end to end: a site of ours has a dozen, and a comparison costs less
 *       than a hash.
 *
 * Threads: filled by one before the server serves; immutable and read by all after.
 * Invariants: (1) no two routes have the same method, path and prefix flag; (2) paths are compared decoded, byte by
 *       byte.
 */
#include "http_route.h"

#include <string.h>

#include "alloc.h"
#include "http_text.h"

int pn_http_routes_add(pn_http_routes *routes, const char *method, const char *path, unsigned flags,
                       pirn_http_handler handler, void *context, const char *file, int line) {
    if (path[0] != '/' || !handler) {
        return PIRN_EINVAL;
    }
    for (size_t i = 0; i < routes->count; i++) {
        const pn_http_route *other = &routes->list[i];
        bool same_kind = ((other->flags ^ flags) & PIRN_ROUTE_PREFIX) == 0;
        if (same_kind && strcmp(other->method, method) == 0 && strcmp(other->path, path) == 0) {
            return PIRN_EALREADY;
        }
    }
    pn_http_route route = {.method = pn_strdup(method),
                           .path = pn_strdup(path),
                           .path_bytes = strlen(path),
                           .flags = flags,
                           .handler = handler,
                           .context = context,
                           .file = file,
                           .line = line};
    pn_http_route *list = pn_realloc(routes->list, (routes->count + 1) * sizeof *list);
    routes->list = list ? list : routes->list;
    if (!list || !route.method || !route.path) {
        pn_free(route.method);
        pn_free(route.path);
        return PIRN_ENOMEM;
    }
    list[routes->count++] = route;
    return 0;
}

void pn_http_routes_fini(pn_http_routes *routes) {
    for (size_t i = 0; i < routes->count; i++) {
        pn_free(routes->list[i].method);
        pn_free(routes->list[i].path);
    }
    pn_free(routes->list);
    *routes = (pn_http_routes){0};
}

static bool path_fits(const pn_http_route *route, const char *path) {
    if (!(route->flags & PIRN_ROUTE_PREFIX)) {
        return strcmp(route->path, path) == 0;
    }
    if (strncmp(route->path, path, route->path_bytes) != 0) {
        return false;
    }
    /* "/a" is above "/a/b" and not above "/ab"; "/a/" needs no further look. */
    bool whole = route->path_bytes > 0 && route->path[route->path_bytes - 1] == '/';
    return whole || path[route->path_bytes] == '\0' || path[route->path_bytes] == '/';
}

/* 2: its own method; 1: GET, which answers HEAD too; 0: not. */
static int method_fits(const pn_http_route *route, const pn_http_request *request) {
    if (strcmp(route->method, request->method) == 0) {
        return 2;
    }
    return request->is_head && strcmp(route->method, "GET") == 0;
}

/* How well it fits: length first, then exact before prefix, then a HEAD route before its GET. */
static size_t fitness(const pn_http_route *route, int method) {
    return route->path_bytes * 4 + (route->flags & PIRN_ROUTE_PREFIX ? 0 : 2) + (method == 2);
}

pn_http_match pn_http_routes_match(const pn_http_routes *routes, const pn_http_request *request) {
    pn_http_match match = {.status = 404};
    size_t best = 0;
    for (size_t i = 0; i < routes->count; i++) {
        const pn_http_route *route = &routes->list[i];
        if (!path_fits(route, request->path)) {
            continue;
        }
        match.status = 405;
        int method = method_fits(route, request);
        if (method > 0 && (!match.route || fitness(route, method) > best)) {
            best = fitness(route, method);
            match.route = route;
        }
    }
    bool options = strcmp(request->method, "OPTIONS") == 0;
    if (!match.route && options && (match.status == 405 || strcmp(request->path, "*") == 0)) {
        match.status = 204;
    }
    return match;
}

static void put_method(pn_http_out *out, const char *method) {
    pn_http_put_text(out, method);
    pn_http_put_text(out, ", ");
}

static bool said_before(const pn_http_routes *routes, size_t index, const char *path) {
    for (size_t i = 0; i < index; i++) {
        if (path_fits(&routes->list[i], path) && strcmp(routes->list[i].method, routes->list[index].method) == 0) {
            return true;
        }
    }
    return false;
}

void pn_http_routes_allow(const pn_http_routes *routes, const char *path, char *text, size_t text_bytes) {
    pn_http_out out = {text, text + text_bytes - 1, false};
    bool head = false;
    for (size_t i = 0; i < routes->count; i++) {
        const pn_http_route *route = &routes->list[i];
        if (path_fits(route, path) && !said_before(routes, i, path)) {
            put_method(&out, route->method);
            head = head || strcmp(route->method, "GET") == 0;
        }
    }
    if (head) {
        put_method(&out, "HEAD");
    }
    pn_http_put_text(&out, "OPTIONS");
    *out.at = '\0';
}
