/* SPDX-License-Identifier: MIT
 *
 * What: the raw rules of a request head. llhttp is strict about most of the grammar but hides or forgives some of
 *       what request smuggling is made of, and its callbacks no longer show it. So, on the bytes themselves: lines
 *       end in CR LF and neither stands alone; no line starts with a space or tab (llhttp joins folded lines, and a
 *       folded Transfer-Encoding arrives as plain "chunked"); a field has a name; the request line has single spaces
 *       and HTTP/1.0 or 1.1. Limits are counted here too.
 *
 * Threads: whoever owns the struct; no state besides.
 * Invariants: (1) the verdict does not depend on how the bytes were split: each rule looks at whole lines, or at a
 *       prefix of a line that no later byte can mend. (2) Every byte is looked at once, but for a CR whose LF has not
 *       come.
 * Rejected: checking inside llhttp's callbacks (the fold is gone there); waiting for the whole head before any
 *       verdict (a client that speaks TLS, or sends a line without end, would be told only by the timeout).
 */
#include "http_lint.h"

#include <string.h>

#include "http_text.h"

#define EMPTY_LINES_BYTES_MAX 8 /* empty lines before a request are tolerated, not counted on */

/* Move `seen` to the CR of the next line end, or to the first byte not decided. 1 found, 0 not yet, -400 a lone CR or
 * LF. */
static int find_line_end(pn_http_lint *lint, const char *data, size_t bytes) {
    const char *from = data + lint->seen;
    size_t left = bytes - lint->seen;
    const char *cr = left ? memchr(from, '\r', left) : NULL;
    size_t plain = cr ? (size_t)(cr - from) : left;
    if (plain && memchr(from, '\n', plain)) {
        return -400;
    }
    lint->seen += plain;
    if (!cr || lint->seen + 1 == bytes) {
        return 0;
    }
    return cr[1] == '\n' ? 1 : -400;
}

/* "HTTP/1.1" -> 0 with `*minor`; -505 for another version, -400 for another thing. */
static int check_version(const char *text, size_t bytes, int *minor) {
    if (bytes != 8 || memcmp(text, "HTTP/", 5) != 0 || text[6] != '.' || text[5] < '0' || text[5] > '9' ||
        text[7] < '0' || text[7] > '9') {
        return -400;
    }
    *minor = text[7] - '0';
    return text[5] == '1' && *minor <= 1 ? 0 : -505;
}

/* METHOD SP target SP HTTP/1.x, exactly. */
static int check_request_line(pn_http_lint *lint, const char *line, size_t bytes) {
    const char *space = memchr(line, ' ', bytes);
    if (!space || !pn_http_is_token(line, (size_t)(space - line))) {
        return -400;
    }
    lint->method_bytes = (size_t)(space - line);
    const char *target = space + 1, *end = line + bytes;
    const char *stop = memchr(target, ' ', (size_t)(end - target));
    if (!stop || stop == target) {
        return -400;
    }
    lint->target_bytes = (size_t)(stop - target);
    for (const char *at = target; at < stop; at++) {
        if (*at <= 0x20 || *at >= 0x7f ||
            *at == '#') { /* char may be signed: bytes over 0x7f are caught by either half */
            return -400;
        }
    }
    return check_version(stop + 1, (size_t)(end - stop - 1), &lint->minor);
}

/* What the line from line_start to `seen` already says, complete or not. */
static int judge_line(const pn_http_lint *lint, const pirn_http_options *limits, const char *data) {
    size_t length = lint->seen - lint->line_start;
    if (length == 0) {
        return 0;
    }
    unsigned char first = (unsigned char)data[lint->line_start];
    if (lint->lines == 0) {
        if (!pn_http_is_token_char(first)) {
            return -400;
        }
        return length > limits->line_bytes_max ? -414 : 0;
    }
    if (first == ' ' || first == '\t' || first == ':') {
        return -400;
    }
    bool too_large = lint->seen - lint->fields_start > limits->header_bytes_max;
    return too_large || lint->lines > limits->header_count_max ? -431 : 0;
}

/* An empty line: the end of the head, or one of those before a request. 1, 0 to go on, or -400. */
static int empty_line(pn_http_lint *lint) {
    if (lint->lines > 0) {
        return 1;
    }
    lint->head_start = lint->line_start = lint->seen;
    return lint->head_start > EMPTY_LINES_BYTES_MAX ? -400 : 0;
}

static int complete_line(pn_http_lint *lint, const char *data) {
    size_t length = lint->seen - lint->line_start;
    const char *line = data + lint->line_start;
    lint->seen += 2;
    if (length == 0) {
        return empty_line(lint);
    }
    lint->line_start = lint->seen;
    if (lint->lines++ == 0) {
        lint->fields_start = lint->seen;
        return check_request_line(lint, line, length);
    }
    return 0;
}

int pn_http_lint_head(pn_http_lint *lint, const pirn_http_options *limits, const char *data, size_t bytes) {
    for (;;) {
        int end = find_line_end(lint, data, bytes);
        int verdict = judge_line(lint, limits, data);
        if (verdict < 0 || end <= 0) {
            return verdict < 0 ? verdict : end;
        }
        verdict = complete_line(lint, data);
        if (verdict != 0) {
            return verdict;
        }
    }
}

static bool valid_port(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
    }
    return bytes <= 5;
}

/* "[::1]" with at least two colons; the address itself is not resolved, so its digits are not counted. */
static const char *skip_ipv6(const char *text, const char *end) {
    const char *at = text + 1;
    unsigned colons = 0;
    while (at < end && (pn_http_hex(*at) >= 0 || *at == ':' || *at == '.')) {
        colons += *at++ == ':';
    }
    return at < end && *at == ']' && colons >= 2 ? at + 1 : NULL;
}

static const char *skip_name(const char *text, const char *end) {
    const char *at = text;
    while (at < end && *at != ':') {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        if (*at == '%') {
            if (end - at < 3 || pn_http_hex(at[1]) < 0 || pn_http_hex(at[2]) < 0) {
                return NULL;
            }
            at += 2;
        } else if (!letter && (*at == '\0' || !strchr("-._~!$&'()*+;=,", *at))) {
            return NULL;
        }
        at++;
    }
    return at == text ? NULL : at;
}

bool pn_http_valid_authority(const char *text, size_t bytes) {
    if (bytes == 0) {
        return false;
    }
    const char *end = text + bytes;
    const char *after = *text == '[' ? skip_ipv6(text, end) : skip_name(text, end);
    if (!after) {
        return false;
    }
    return after == end || (*after == ':' && valid_port(after + 1, (size_t)(end - after - 1)));
}
