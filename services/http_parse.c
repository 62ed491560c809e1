/* SPDX-License-Identifier: MIT
 *
 * What: HTTP/1.x requests: finds the end of the head with our raw rules (http_lint.c), has llhttp take the head
 *       apart, checks what it leaves to its users (Host, Transfer-Encoding, target), and gathers the body up to its
 *       limit.
 *
 * Threads: the connection tasklet that owns the parser.
 * States: HEAD -> (complete head) -> BODY -> complete -> HEAD. A refusal ends the parser for good: no byte after it
 *       is looked at.
 * Invariants: (1) llhttp sees only whole heads that passed the raw rules, each with a fresh state, so nothing carries
 *       over from one request of a connection to the next; (2) a request has a body with exactly one framing:
 *       Content-Length or chunked, never both; (3) memory for a body follows the bytes that came, not the length that
 *       was promised.
 * Rejected: feeding llhttp piece by piece: its callbacks then give names and values in fragments, the raw rules would
 *       need a second state machine in step with it, and the limits could not be counted before it allocates.
 */
#include "http_parse.h"

#include <llhttp.h>

#include <string.h>
#include <strings.h>

#include "alloc.h"
#include "http_text.h"

#define BODY_BYTES_FIRST 1024

/* One head on its way through llhttp. */
typedef struct head_parse {
    llhttp_t llhttp;
    pn_http_request *request;
} head_parse;

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

static int on_field(llhttp_t *llhttp, const char *at, size_t bytes) {
    pn_http_request *request = ((head_parse *)llhttp)->request;
    if (request->field_count == request->field_max) {
        return HPE_USER; /* cannot be: the lint counted the lines */
    }
    pn_http_field *field = &request->fields[request->field_count++];
    *field = (pn_http_field){.name = at, .name_bytes = bytes, .value = at + bytes};
    return 0;
}

static int on_value(llhttp_t *llhttp, const char *at, size_t bytes) {
    pn_http_request *request = ((head_parse *)llhttp)->request;
    pn_http_field *field = &request->fields[request->field_count - 1];
    while (bytes > 0 && (at[bytes - 1] == ' ' || at[bytes - 1] == '\t')) {
        bytes--; /* llhttp leaves the white space behind a value */
    }
    field->value = at;
    field->value_bytes = bytes;
    return 0;
}

/* The connection's fate is asked for here: at the end of a message without body llhttp has forgotten it. */
static int on_head(llhttp_t *llhttp) {
    ((head_parse *)llhttp)->request->keep_alive = llhttp_should_keep_alive(llhttp);
    return 0;
}

/* llhttp's verdict on a head. The raw rules have passed, so an unknown method is a well-formed one. */
static int run_llhttp(head_parse *parse, const char *head, size_t bytes) {
    static const llhttp_settings_t settings = {
        .on_header_field = on_field, .on_header_value = on_value, .on_headers_complete = on_head};
    llhttp_init(&parse->llhttp, HTTP_REQUEST, &settings);
    switch (llhttp_execute(&parse->llhttp, head, bytes)) {
    case HPE_OK:
    case HPE_PAUSED_UPGRADE: /* an upgrade is the client's offer; we answer in HTTP/1.1 */
        return llhttp_get_method(&parse->llhttp) == HTTP_CONNECT ? -501 : 0;
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT: /* a method of another protocol */
        return -501;
    default:
        return -400;
    }
}

static int check_host(const pn_http_request *request) {
    const pn_http_field *host = pn_http_request_field(request, "Host", 0);
    if (!host) {
        return request->minor == 0 ? 0 : -400;
    }
    bool second = pn_http_request_field(request, "Host", (unsigned)(host - request->fields) + 1) != NULL;
    return !second && pn_http_valid_authority(host->value, host->value_bytes) ? 0 : -400;
}

static bool value_is(const pn_http_field *field, const char *text) {
    return field->value_bytes == strlen(text) && strncasecmp(field->value, text, field->value_bytes) == 0;
}

/* How the body is framed: exactly "chunked" in HTTP/1.1, or a Content-Length, which llhttp has read, or nothing. */
static int check_framing(pn_http_parser *parser, const llhttp_t *llhttp) {
    const pn_http_request *request = parser->request;
    const pn_http_field *coding = pn_http_request_field(request, "Transfer-Encoding", 0);
    const pn_http_field *length = pn_http_request_field(request, "Content-Length", 0);
    if (coding) {
        bool second = pn_http_request_field(request, "Transfer-Encoding", (unsigned)(coding - request->fields) + 1);
        if (request->minor == 0 || length || second || !value_is(coding, "chunked")) {
            return -400;
        }
        parser->chunked = true;
    } else if (length) {
        if (llhttp->content_length > parser->limits->body_bytes_max) {
            return -413;
        }
        parser->body_left = llhttp->content_length;
    }
    return 0;
}

static int check_expect(pn_http_parser *parser) {
    const pn_http_field *expect = pn_http_request_field(parser->request, "Expect", 0);
    if (!expect || parser->request->minor == 0) {
        return 0;
    }
    if (!value_is(expect, "100-continue")) {
        return -417;
    }
    parser->wants_continue = parser->chunked || parser->body_left > 0;
    return 0;
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

/* The start of the path in "http://host/path", NULL when that is not what it is. Host is checked on its own: it must
 * be there too. */
static char *skip_scheme(char *target, const char *end) {
    size_t bytes = (size_t)(end - target);
    size_t scheme = bytes > 7 && strncasecmp(target, "http://", 7) == 0    ? 7
                    : bytes > 8 && strncasecmp(target, "https://", 8) == 0 ? 8
                                                                           : 0;
    if (scheme == 0) {
        return NULL;
    }
    char *authority = target + scheme;
    size_t length = strcspn(authority, "/? ");
    return pn_http_valid_authority(authority, length) ? authority + length : NULL;
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
    char *path = *target == '/' ? target : skip_scheme(target, end);
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

/* The head is whole: make the request. `head` is its copy in the request's own memory. */
static int read_head(pn_http_parser *parser, char *head, size_t bytes) {
    pn_http_request *request = parser->request;
    const pn_http_lint *lint = &parser->lint;
    head_parse parse = {.request = request};
    int status = run_llhttp(&parse, head, bytes);
    if (status != 0) {
        return status;
    }
    request->minor = (uint8_t)lint->minor;
    request->is_head = llhttp_get_method(&parse.llhttp) == HTTP_HEAD;
    status = check_host(request);
    status = status ? status : check_framing(parser, &parse.llhttp);
    status = status ? status : check_expect(parser);
    if (status != 0) {
        return status;
    }
    terminate_fields(request);
    head[lint->method_bytes] = '\0';
    request->method = head;
    char *target = head + lint->method_bytes + 1;
    return read_target(request, target, target + lint->target_bytes);
}

static int feed_head(pn_http_parser *parser, const char *data, size_t bytes, size_t *used) {
    pn_http_lint *lint = &parser->lint;
    int status = pn_http_lint_head(lint, parser->limits, data, bytes);
    if (status <= 0) {
        return status;
    }
    size_t head_bytes = lint->seen - lint->head_start;
    char *head;
    parser->request = pn_http_request_create(lint->lines - 1, head_bytes, &head);
    if (!parser->request) {
        return -500;
    }
    memcpy(head, data + lint->head_start, head_bytes);
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
