/* SPDX-License-Identifier: MIT
 *
 * What: HTTP/1.x requests: finds the end of the head with our raw rules (http_lint.c), reads its fields
 *       (http_field.c), has llhttp judge the request line, checks what concerns the whole request (Host, framing,
 *       target), and gathers the body up to its limit.
 *
 * Threads: the connection tasklet that owns the parser.
 * States: HEAD -> (complete head) -> BODY -> complete -> HEAD. A refusal ends the parser for good: no byte after it
 *       is looked at.
 * Invariants: (1) llhttp sees only whole request lines that passed the raw rules, each with a fresh state, so nothing
 *       carries over from one request of a connection to the next; (2) a request has a body with exactly one framing:
 *       Content-Length or chunked, never both; (3) memory for a body follows the bytes that came, not the length that
 *       was promised; (4) every decision uses the fields that the handler sees.
 * Rejected: feeding llhttp piece by piece: its callbacks then give names and values in fragments, the raw rules would
 *       need a second state machine in step with it, and the limits could not be counted before it allocates. Taking
 *       fields from llhttp's callbacks: http_field.c says why. Giving it the fields only for a second judgement: it
 *       refuses white space that is allowed, finds nothing that our reader passes, and costs more than our rules do.
 */
#include "http_parse.h"

#include <llhttp.h>

#include <string.h>

#include "alloc.h"
#include "ascii.h"
#include "base.h"
#include "http_text.h"

#define BODY_BYTES_FIRST 1024

void pn_http_parser_init(pn_http_parser *parser, const pirn_http_options *limits) {
    memset(parser, 0, sizeof *parser);
    parser->limits = limits;
}

void pn_http_parser_fini(pn_http_parser *parser) {
    pn_http_request_destroy(parser->request);
    parser->request = NULL;
}

pn_http_request *pn_http_parser_take(pn_http_parser *parser) {
    pn_http_request *request = parser->request;
    const pirn_http_options *limits = parser->limits;
    pn_http_parser_init(parser, limits);
    return request;
}

/* llhttp's judgement of the request line. The raw rules have passed, so an unknown method is a well-formed one. */
static int run_llhttp(pn_http_request *request, const char *line, size_t bytes) {
    static const llhttp_settings_t settings = {.on_message_begin = NULL};
    llhttp_t llhttp;
    llhttp_init(&llhttp, HTTP_REQUEST, &settings);
    switch (llhttp_execute(&llhttp, line, bytes)) {
    case HPE_OK:
        request->is_head = llhttp_get_method(&llhttp) == HTTP_HEAD;
        return llhttp_get_method(&llhttp) == HTTP_CONNECT ? -501 : 0;
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT: /* a method of another protocol */
        return -501;
    default:
        return -400;
    }
}

/* The fields of the head: each line from `at` on ends in CR LF, and an empty line is the last (http_lint.c). */
static int read_fields(pn_http_request *request, char *at, char *end) {
    while (*at != '\r') {
        char *stop = memchr(at, '\r', (size_t)(end - at));
        PN_ASSERT(request->field_count < request->field_max); /* the lint counted the lines */
        int status = pn_http_field_read(at, (size_t)(stop - at), &request->fields[request->field_count++]);
        if (status != 0) {
            return status;
        }
        at = stop + 2;
    }
    return 0;
}

/* The only field of that name, or none: NULL in `*field`. -400: there are two. */
static int find_single(const pn_http_request *request, const char *name, const pn_http_field **field) {
    const pn_http_field *first = pn_http_request_field(request, name, 0);
    *field = first;
    return first && pn_http_request_field(request, name, (unsigned)(first - request->fields) + 1) ? -400 : 0;
}

static int check_host(const pn_http_request *request) {
    const pn_http_field *host;
    int status = find_single(request, "Host", &host);
    if (status != 0 || !host) {
        return status == 0 && request->minor == 0 ? 0 : -400;
    }
    return pn_http_valid_authority(host->value, host->value_bytes) ? 0 : -400;
}

/* Two types of one body: a guard before us and a handler behind us may each believe another one. */
static int check_type(const pn_http_request *request) {
    const pn_http_field *type;
    return find_single(request, "Content-Type", &type);
}

/* Digits only, and not more than 64 bits hold. */
static int read_length(const pn_http_field *field, uint64_t *length) {
    *length = 0;
    for (size_t i = 0; i < field->value_bytes; i++) {
        unsigned digit = (unsigned char)field->value[i] - (unsigned)'0';
        if (digit > 9 || *length > (UINT64_MAX - digit) / 10) {
            return -400;
        }
        *length = *length * 10 + digit;
    }
    return field->value_bytes > 0 ? 0 : -400;
}

/* How the body is framed: exactly "chunked" in HTTP/1.1, or one Content-Length, or nothing. */
static int check_framing(pn_http_parser *parser) {
    const pn_http_request *request = parser->request;
    const pn_http_field *coding, *length;
    if (find_single(request, "Transfer-Encoding", &coding) || find_single(request, "Content-Length", &length)) {
        return -400;
    }
    if (coding) {
        parser->chunked = true;
        return request->minor > 0 && !length && pn_http_field_is(coding, "chunked") ? 0 : -400;
    }
    if (length) {
        int status = read_length(length, &parser->body_left);
        return status == 0 && parser->body_left > parser->limits->body_bytes_max ? -413 : status;
    }
    return 0;
}

/* The next field of that name behind `field`, or the first of all for NULL. */
static const pn_http_field *next_field(const pn_http_request *request, const char *name, const pn_http_field *field) {
    return pn_http_request_field(request, name, field ? (unsigned)(field - request->fields) + 1 : 0);
}

static int check_expect(pn_http_parser *parser) {
    const pn_http_request *request = parser->request;
    const pn_http_field *expect = NULL;
    while (request->minor > 0 && (expect = next_field(request, "Expect", expect))) {
        if (!pn_http_field_is(expect, "100-continue")) {
            return -417;
        }
        parser->wants_continue = parser->chunked || parser->body_left > 0;
    }
    return 0;
}

/* Whether the client wants to go on: "close" wins over "keep-alive", and HTTP/1.0 must say the latter. */
static void read_connection(pn_http_request *request) {
    const pn_http_field *field = NULL;
    bool close = false, keep_alive = request->minor > 0;
    while ((field = next_field(request, "Connection", field))) {
        close = close || pn_http_list_has(field->value, field->value_bytes, "close");
        keep_alive = keep_alive || pn_http_list_has(field->value, field->value_bytes, "keep-alive");
    }
    request->keep_alive = keep_alive && !close;
}

/* Decode one escape of a path. Control characters, NUL and an encoded slash are refused: no path of ours needs them,
 * and each has been somebody's hole. */
static int decode_path_escape(const char *at, const char *end) {
    if (end - at < 3 || pn_http_hex(at[1]) < 0 || pn_http_hex(at[2]) < 0) {
        return -1;
    }
    int byte = pn_http_hex(at[1]) * 16 + pn_http_hex(at[2]);
    return byte < 0x20 || byte == 0x7f || byte == '/' ? -1 : byte;
}

/* No "." or ".." between slashes: clients resolve these, and a handler below a prefix must not have to. */
static bool has_dot_segment(const char *path) {
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        const char *at = slash + 1;
        at += *at == '.';
        at += at > slash + 1 && *at == '.';
        if (at > slash + 1 && (*at == '/' || *at == '\0')) {
            return true;
        }
    }
    return false;
}

/* Decode [path, end) in place and terminate it. */
static int decode_path(char *path, const char *end) {
    char *to = path;
    for (const char *at = path; at < end; at++) {
        int byte = (unsigned char)*at;
        if (byte == '%') {
            byte = decode_path_escape(at, end);
            if (byte < 0) {
                return -400;
            }
            at += 2;
        }
        *to++ = (char)byte;
    }
    *to = '\0';
    return has_dot_segment(path) ? -400 : 0;
}

/* The target's authority takes the place of the Host field's value (RFC 9112, 3.2.2), so that all who ask for the host
 * get the one the request is for. `authority` has two slashes before it, which give room for its terminator. */
static void replace_host(pn_http_request *request, char *authority, size_t bytes) {
    pn_http_field *host = (pn_http_field *)pn_http_request_field(request, "Host", 0);
    if (!host) { /* HTTP/1.0 */
        host = &request->fields[request->field_count++];
        host->name = "Host";
        host->name_bytes = 4;
    }
    memmove(authority - 1, authority, bytes);
    authority[bytes - 1] = '\0';
    host->value = authority - 1;
    host->value_bytes = bytes;
}

/* The start of the path in "http://host/path", whose host becomes the request's; NULL when that is not what it is. */
static char *skip_scheme(pn_http_request *request, char *target, const char *end) {
    size_t bytes = (size_t)(end - target);
    size_t scheme = bytes > 7 && pn_ascii_equal_bytes(target, "http://", 7)    ? 7
                    : bytes > 8 && pn_ascii_equal_bytes(target, "https://", 8) ? 8
                                                                               : 0;
    if (scheme == 0) {
        return NULL;
    }
    char *authority = target + scheme;
    size_t length = strcspn(authority, "/?");
    if (!pn_http_valid_authority(authority, length)) {
        return NULL;
    }
    replace_host(request, authority, length);
    return authority + length;
}

/* Split and decode the target, which stands in our copy of the head: /path?query, http://host/path?query, or * for
 * OPTIONS. */
static int read_target(pn_http_request *request, char *target, char *end) {
    *end = '\0'; /* was the space before the version */
    request->query = "";
    if (end - target == 1 && *target == '*') {
        request->path = target;
        return strcmp(request->method, "OPTIONS") == 0 ? 0 : -400;
    }
    char *path = *target == '/' ? target : skip_scheme(request, target, end);
    if (!path) {
        return -400;
    }
    char *question = memchr(path, '?', (size_t)(end - path));
    if (question) {
        request->query = question + 1;
    }
    char *stop = question ? question : end;
    request->path = path;
    if (path == stop) {
        request->path = "/"; /* http://host without a path */
        return 0;
    }
    return decode_path(path, stop);
}

static void terminate_fields(pn_http_request *request) {
    for (unsigned i = 0; i < request->field_count; i++) {
        pn_http_field *field = &request->fields[i];
        ((char *)field->name)[field->name_bytes] = '\0';
        ((char *)field->value)[field->value_bytes] = '\0';
    }
}

/* What the fields say together, each check on the values that the handler will see. */
static int check_fields(pn_http_parser *parser) {
    read_connection(parser->request);
    int status = check_host(parser->request);
    status = status ? status : check_framing(parser);
    status = status ? status : check_type(parser->request);
    return status ? status : check_expect(parser);
}

/* The head is whole: make the request. `head` is its copy in the request's own memory. */
static int read_head(pn_http_parser *parser, char *head, size_t bytes) {
    pn_http_request *request = parser->request;
    const pn_http_lint *lint = &parser->lint;
    request->minor = (uint8_t)lint->minor;
    size_t line_bytes = lint->fields_start - lint->head_start;
    int status = read_fields(request, head + line_bytes, head + bytes);
    status = status ? status : run_llhttp(request, head, line_bytes);
    status = status ? status : check_fields(parser);
    if (status != 0) {
        return status;
    }
    terminate_fields(request);
    head[lint->method_bytes] = '\0';
    request->method = head;
    char *target = head + lint->method_bytes + 1;
    return read_target(request, target, target + lint->target_bytes);
}

/* What is taken apart and decoded in place is kept as it came, too: `to` has room for it. */
static void keep_line(pn_http_request *request, const pn_http_lint *lint, const char *head, char *to) {
    memcpy(to, head, lint->method_bytes);
    to[lint->method_bytes] = '\0';
    request->sent_method = to;
    to += lint->method_bytes + 1;
    memcpy(to, head + lint->method_bytes + 1, lint->target_bytes);
    to[lint->target_bytes] = '\0';
    request->target = to;
}

static int feed_head(pn_http_parser *parser, const char *data, size_t bytes, size_t *used) {
    pn_http_lint *lint = &parser->lint;
    int status = pn_http_lint_head(lint, parser->limits, data, bytes);
    if (status <= 0) {
        return status;
    }
    size_t head_bytes = lint->seen - lint->head_start;
    char *head;
    /* As many fields as lines: the request line's place is for the host of an absolute target (replace_host). */
    size_t line_bytes = lint->method_bytes + lint->target_bytes + 2;
    parser->request = pn_http_request_create(lint->lines, head_bytes + 1 + line_bytes, &head);
    if (!parser->request) {
        return -500;
    }
    memcpy(head, data + lint->head_start, head_bytes);
    head[head_bytes] = '\0';
    keep_line(parser->request, lint, head, head + head_bytes + 1);
    *used = lint->seen;
    parser->phase = PN_HTTP_BODY;
    return read_head(parser, head, head_bytes);
}

static int append_body(pn_http_parser *parser, const char *data, size_t bytes) {
    pn_http_request *request = parser->request;
    size_t wanted = request->body_bytes + bytes;
    if (wanted > parser->limits->body_bytes_max) {
        return -413;
    }
    if (wanted + 1 > parser->body_capacity) {
        size_t capacity = parser->body_capacity ? parser->body_capacity * 2 : BODY_BYTES_FIRST;
        capacity = capacity < wanted + 1 ? wanted + 1 : capacity;
        char *body = pn_realloc(request->body, capacity);
        if (!body) {
            return -500;
        }
        request->body = body;
        parser->body_capacity = capacity;
    }
    memcpy(request->body + request->body_bytes, data, bytes);
    request->body_bytes = wanted;
    request->body[wanted] = '\0';
    return 0;
}

static int feed_chunked(pn_http_parser *parser, const char *data, size_t bytes, size_t *used) {
    int over = 0;
    while (!over && *used < bytes) {
        size_t taken, span_bytes;
        const char *span;
        over = pn_http_chunk_feed(&parser->chunk, data + *used, bytes - *used, parser->limits->header_bytes_max, &taken,
                                  &span, &span_bytes);
        *used += taken;
        if (span_bytes > 0) {
            int status = append_body(parser, span, span_bytes);
            if (status != 0) {
                return status;
            }
        }
        /* `left` is a promise only once its line is over: a size too large is refused before its bytes are sent. */
        if (over == 0 && parser->chunk.digits == 0 &&
            parser->chunk.left > parser->limits->body_bytes_max - parser->request->body_bytes) {
            return -413;
        }
    }
    return over;
}

static int feed_fixed(pn_http_parser *parser, const char *data, size_t bytes, size_t *used) {
    size_t left = bytes - *used;
    size_t taken = left < parser->body_left ? left : (size_t)parser->body_left;
    if (taken > 0) {
        int status = append_body(parser, data + *used, taken);
        if (status != 0) {
            return status;
        }
    }
    *used += taken;
    parser->body_left -= taken;
    return parser->body_left == 0;
}

int pn_http_parser_feed(pn_http_parser *parser, const char *data, size_t bytes, size_t *used) {
    *used = 0;
    if (parser->phase == PN_HTTP_HEAD) {
        int status = feed_head(parser, data, bytes, used);
        if (status != 0 || parser->phase == PN_HTTP_HEAD) {
            return status;
        }
    }
    return parser->chunked ? feed_chunked(parser, data, bytes, used) : feed_fixed(parser, data, bytes, used);
}
