/* SPDX-License-Identifier: MIT
 *
 * What: the record of a request that is over, for the program's log, and its line.
 * Threads: a request's or a connection's tasklet; nothing here has state.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http_exchange.h"
#include "http_server.h"
#include "http_text.h"

#define SECOND_NS ((int64_t)PIRN_SECOND)

static int64_t wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

void pn_http_access_tell(pirn_http_server *server, pirn_http_access *access, pirn_time began_at, pirn_time ended_at) {
    access->duration_ns = ended_at > began_at ? ended_at - began_at : 0;
    access->started_unix_ns = wall_clock() - (pirn_now() - began_at);
    server->options.on_access(server->options.on_access_context, access);
}

/* Where the path of a target begins: behind "http://host", if it is in that form. */
static const char *path_of(const char *target) {
    const char *scheme = strstr(target, "://");
    if (*target == '/' || !scheme || scheme > target + 5) {
        return target;
    }
    size_t host = strcspn(scheme + 3, "/?");
    return scheme[3 + host] == '/' ? scheme + 3 + host : "/";
}

/* What is in front of the query, escaped. */
static void format_path(const char *target, char *out, size_t out_bytes) {
    char path[256];
    const char *from = path_of(target);
    size_t bytes = strcspn(from, "?#");
    bytes = bytes < sizeof path - 1 ? bytes : sizeof path - 1;
    memcpy(path, from, bytes);
    path[bytes] = '\0';
    (void)pn_http_log_escape(path, out, out_bytes);
}

size_t pirn_http_access_format(const pirn_http_access *access, char *line, size_t line_bytes) {
    char path[257], method[32];
    struct tm utc = {0};
    time_t seconds = (time_t)(access->started_unix_ns / SECOND_NS);
    (void)gmtime_r(&seconds, &utc);
    format_path(access->target, path, sizeof path);
    (void)pn_http_log_escape(access->method, method, sizeof method);
    int length = snprintf(
        line, line_bytes,
        "time=%04d-%02d-%02dT%02d:%02d:%02d.%03dZ peer=%s method=%s path=\"%s\" status=%d bytes=%llu us=%lld",
        utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
        (int)(access->started_unix_ns % SECOND_NS / PIRN_MILLISECOND), access->peer, method, path, access->status,
        (unsigned long long)access->bytes, (long long)(access->duration_ns / PIRN_MICROSECOND));
    if (length < 0) {
        length = 0;
    }
    return (size_t)length < line_bytes ? (size_t)length : line_bytes > 0 ? line_bytes - 1 : 0;
}
