/* SPDX-License-Identifier: MIT
 *
 * What: builds one response: fields, then a body that is known whole (Content-Length), streamed (chunked, or until
 *       close in HTTP/1.0) or absent; gathers small pieces so that a small response is one write.
 *
 * Threads: the request tasklet; all that parks here parks in pirn_write.
 * The buffer: [prefix_room][gathered][SUFFIX_ROOM]. What comes before the body (head, chunk size) is known only when
 *       it is sent; it is composed at the start of the prefix room and moved up to the body, so that one write takes
 *       all.
 * States: choosing (status, fields) -> begun (body gathers) -> head_sent -> finished; `failed` from any: nothing more
 *       is sent.
 * Invariants: (1) status and fields do not change once the body is begun; (2) the framing is decided when the head is
 *       composed and never after; (3) a body that was complete before anything was sent goes with Content-Length,
 *       however it was written; for HEAD only if the handler replied whole: one that streams may write less for HEAD.
 * Rejected: writev: pirn_write takes one range, and copying a small body costs less than a second record.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "ascii.h"
#include "http_exchange.h"
#include "http_server.h"
#include "http_text.h"

#define CHUNK_PREFIX_ROOM 20u  /* 16 digits and CR LF                                                       */
#define SUFFIX_ROOM       8u   /* the chunk's CR LF and the last chunk                                     */
#define HEAD_FIXED_ROOM   256u /* status line, Date, Content-Length or Transfer-Encoding, Connection: at most 223 */
#define PRINT_BYTES       512u
#define RETRY_AFTER_S     "1" /* with every 503: what was full moves on within moments                       */

pirn_http_exchange *pn_http_exchange_create(void) {
    pirn_http_exchange *exchange = pn_malloc(sizeof *exchange);
    if (exchange) {
        memset(exchange, 0, offsetof(pirn_http_exchange, inline_buffer)); /* that one is written before it is read */
        exchange->buffer = exchange->inline_buffer;
        exchange->buffer_bytes = sizeof exchange->inline_buffer;
    }
    return exchange;
}

static void free_buffer(pirn_http_exchange *exchange) {
    if (exchange->buffer != exchange->inline_buffer) {
        pn_free(exchange->buffer);
    }
    exchange->buffer = exchange->inline_buffer;
    exchange->buffer_bytes = sizeof exchange->inline_buffer;
}

void pn_http_exchange_destroy(pirn_http_exchange *exchange) {
    free_buffer(exchange);
    pn_free(exchange->fields);
    pn_http_request_destroy(exchange->request);
    pn_free(exchange);
}

/* ---- status and fields ---- */

int pirn_http_status(pirn_http_exchange *exchange, int status) {
    if (status < 200 || status > 599) {
        return PIRN_EINVAL;
    }
    if (exchange->begun) {
        return PIRN_EALREADY;
    }
    exchange->status = status;
    return 0;
}

/* Fields that say where a message ends are the server's alone. */
static bool is_framing_field(const char *name) {
    return pn_ascii_equal(name, "Content-Length") || pn_ascii_equal(name, "Transfer-Encoding") ||
           pn_ascii_equal(name, "Upgrade") || pn_ascii_equal(name, "Date");
}

static bool is_field_value(const char *value) {
    for (; *value; value++) {
        unsigned char byte = (unsigned char)*value;
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

static int append_field(pirn_http_exchange *exchange, const char *name, const char *value) {
    size_t name_bytes = strlen(name), value_bytes = strlen(value);
    size_t wanted = exchange->fields_bytes + name_bytes + value_bytes + 4;
    if (wanted > PN_HTTP_GATHER_BYTES / 2) {
        return PIRN_ELIMIT;
    }
    if (wanted > exchange->fields_capacity) {
        size_t capacity = wanted + 128;
        char *fields = pn_realloc(exchange->fields, capacity);
        if (!fields) {
            return PIRN_ENOMEM;
        }
        exchange->fields = fields;
        exchange->fields_capacity = capacity;
    }
    pn_http_out out = {exchange->fields + exchange->fields_bytes, exchange->fields + exchange->fields_capacity, false};
    pn_http_put(&out, name, name_bytes);
    pn_http_put(&out, ": ", 2);
    pn_http_put(&out, value, value_bytes);
    pn_http_put(&out, "\r\n", 2);
    exchange->fields_bytes = wanted;
    return 0;
}

int pirn_http_field(pirn_http_exchange *exchange, const char *name, const char *value) {
    if (!pn_http_is_token(name, strlen(name)) || !is_field_value(value) || is_framing_field(name)) {
        return PIRN_EINVAL;
    }
    if (exchange->begun) {
        return PIRN_EALREADY;
    }
    if (pn_ascii_equal(name, "Connection")) {
        if (!pn_ascii_equal(value, "close")) {
            return PIRN_EINVAL;
        }
        exchange->last = true;
        return 0;
    }
    if (pn_ascii_equal(name, "Content-Type")) {
        if (exchange->has_type) {
            return PIRN_EINVAL;
        }
        int rc = append_field(exchange, name, value);
        exchange->has_type = rc == 0;
        return rc;
    }
    exchange->has_nosniff |= pn_ascii_equal(name, "X-Content-Type-Options");
    return append_field(exchange, name, value);
}

/* ---- the head ---- */

static bool status_has_no_body(int status) {
    return status == 204 || status == 205 || status == 304;
}

/* HEAD tells the length, and sends nothing of it. */
static bool body_is_sent(const pirn_http_exchange *exchange) {
    return !exchange->request->is_head && !status_has_no_body(exchange->status);
}

/* `whole`: all of the body, `length` bytes, is known now. */
static void decide_framing(pirn_http_exchange *exchange, bool whole) {
    if (exchange->status == 205) { /* clients look for a body behind it, so it must say that there is none */
        exchange->framing = PN_HTTP_EMPTY;
    } else if (status_has_no_body(exchange->status)) {
        exchange->framing = PN_HTTP_NO_BODY;
    } else if (whole) {
        exchange->framing = PN_HTTP_LENGTH;
    } else {
        exchange->framing = exchange->request->minor > 0 ? PN_HTTP_CHUNKED : PN_HTTP_UNTIL_CLOSE;
    }
    exchange->keep_alive = exchange->request->keep_alive && !exchange->last &&
                           exchange->framing != PN_HTTP_UNTIL_CLOSE && !pn_http_server_draining(exchange->server);
}

static size_t head_room(const pirn_http_exchange *exchange) {
    size_t type = exchange->content_type ? strlen(exchange->content_type) + 16 : 0;
    return HEAD_FIXED_ROOM + exchange->fields_bytes + type;
}

static void put_head(const pirn_http_exchange *exchange, size_t length, pn_http_out *out) {
    char date[PN_HTTP_DATE_BYTES];
    pn_http_date(date);
    pn_http_put(out, "HTTP/1.1 ", 9);
    pn_http_put_number(out, (uint64_t)exchange->status);
    pn_http_put(out, " ", 1);
    pn_http_put_text(out, pn_http_reason(exchange->status));
    pn_http_put(out, "\r\nDate: ", 8);
    pn_http_put(out, date, sizeof date - 1);
    pn_http_put(out, "\r\n", 2);
    pn_http_put(out, exchange->fields, exchange->fields_bytes);
    if (exchange->content_type) {
        pn_http_put(out, "Content-Type: ", 14);
        pn_http_put_text(out, exchange->content_type);
        pn_http_put(out, "\r\n", 2);
    }
    if ((exchange->nosniff || exchange->server->options.nosniff) && !exchange->has_nosniff) {
        pn_http_put_text(out, "X-Content-Type-Options: nosniff\r\n");
    }
    if (exchange->framing == PN_HTTP_LENGTH) {
        pn_http_put(out, "Content-Length: ", 16);
        pn_http_put_number(out, length);
        pn_http_put(out, "\r\n", 2);
    } else if (exchange->framing == PN_HTTP_EMPTY) {
        pn_http_put_text(out, "Content-Length: 0\r\n");
    } else if (exchange->framing == PN_HTTP_CHUNKED) {
        pn_http_put_text(out, "Transfer-Encoding: chunked\r\n");
    }
    if (!exchange->keep_alive) {
        pn_http_put_text(out, "Connection: close\r\n");
    } else if (exchange->request->minor == 0) {
        pn_http_put_text(out, "Connection: keep-alive\r\n");
    }
    pn_http_put(out, "\r\n", 2);
}

/* ---- sending ---- */

/* What is sent together: head or chunk size, a part of the body, the chunk's end. */
typedef struct piece {
    const char *bytes;
    size_t count;
    size_t body_at, body_bytes; /* which of them are the body's */
} piece;

/* Of the body's bytes in `out`, how many are among the first `moved`. */
static size_t body_among(const piece *out, size_t moved) {
    size_t body = moved > out->body_at ? moved - out->body_at : 0;
    return body < out->body_bytes ? body : out->body_bytes;
}

/* Write all of it. A slow client has write_timeout_ns for each bit of progress, not for the whole. */
static int send_piece(pirn_http_exchange *exchange, const piece *out) {
    pirn_time patience = exchange->server->options.write_timeout_ns;
    size_t done = 0;
    int rc = 0;
    while (done < out->count && rc == 0) {
        size_t moved = 0;
        rc = pirn_write(exchange->socket, out->bytes + done, out->count - done, &moved, pirn_after(patience));
        rc = rc == PIRN_ETIMEDOUT && moved > 0 ? 0 : rc;
        done += moved;
    }
    exchange->body_sent += body_among(out, done);
    exchange->failed = rc;
    return rc;
}

static void put_hex(pn_http_out *out, size_t number) {
    static const char digits[] = "0123456789abcdef";
    unsigned shift = 60;
    while (shift > 0 && number >> shift == 0) {
        shift -= 4;
    }
    for (;; shift -= 4) {
        pn_http_put(out, &digits[number >> shift & 15], 1);
        if (shift == 0) {
            return;
        }
    }
}

/* Put what stands before the gathered bytes directly in front of them; returns where it starts. */
static char *compose_prefix(pirn_http_exchange *exchange, bool whole) {
    pn_http_out out = {exchange->buffer, exchange->buffer + exchange->prefix_room, false};
    if (!exchange->head_sent) {
        decide_framing(exchange, whole && !exchange->request->is_head);
        put_head(exchange, exchange->body_bytes, &out);
    }
    if (exchange->framing == PN_HTTP_CHUNKED && exchange->gathered > 0 && body_is_sent(exchange)) {
        put_hex(&out, exchange->gathered);
        pn_http_put(&out, "\r\n", 2);
    }
    PN_ASSERT(!out.overrun);
    size_t prefix = (size_t)(out.at - exchange->buffer);
    char *start = exchange->buffer + exchange->prefix_room - prefix;
    memmove(start, exchange->buffer, prefix);
    return start;
}

static char *compose_suffix(const pirn_http_exchange *exchange, char *at, bool whole) {
    if (exchange->framing != PN_HTTP_CHUNKED || !body_is_sent(exchange)) {
        return at;
    }
    if (exchange->gathered > 0) {
        memcpy(at, "\r\n", 2);
        at += 2;
    }
    if (whole) {
        memcpy(at, "0\r\n\r\n", 5);
        at += 5;
    }
    return at;
}

/* Send what is gathered, and the head if it is still here. `whole`: nothing follows. */
static int send_gathered(pirn_http_exchange *exchange, bool whole) {
    char *start = compose_prefix(exchange, whole);
    char *body = exchange->buffer + exchange->prefix_room;
    size_t body_bytes = body_is_sent(exchange) ? exchange->gathered : 0;
    const char *end = compose_suffix(exchange, body + body_bytes, whole);
    exchange->head_sent = true;
    exchange->gathered = 0;
    exchange->prefix_room = CHUNK_PREFIX_ROOM;
    const piece out = {start, (size_t)(end - start), (size_t)(body - start), body_bytes};
    return send_piece(exchange, &out);
}

/* ---- the body in one piece ---- */

/* A buffer of at least `wanted` bytes with nothing in it yet. */
static int take_buffer(pirn_http_exchange *exchange, size_t wanted) {
    if (wanted > exchange->buffer_bytes) {
        char *buffer = pn_malloc(wanted);
        if (!buffer) {
            return PIRN_ENOMEM;
        }
        free_buffer(exchange);
        exchange->buffer = buffer;
        exchange->buffer_bytes = wanted;
    }
    return 0;
}

int pirn_http_reply(pirn_http_exchange *exchange, int status, const char *content_type, const void *body,
                    size_t bytes) {
    if (exchange->begun || exchange->finished) {
        return PIRN_EALREADY;
    }
    if (content_type && (exchange->has_type || !is_field_value(content_type))) {
        return PIRN_EINVAL;
    }
    int rc = pirn_http_status(exchange, status);
    if (rc != 0) {
        return rc;
    }
    exchange->content_type = content_type;
    size_t room = head_room(exchange);
    size_t together = bytes <= PN_HTTP_GATHER_BYTES ? bytes : 0; /* a large body goes from the caller's memory */
    rc = take_buffer(exchange, room + together);
    if (rc != 0) {
        exchange->content_type = NULL;
        return rc;
    }
    exchange->begun = true;
    exchange->finished = true;
    exchange->body_bytes = bytes;
    decide_framing(exchange, true);
    pn_http_out out = {exchange->buffer, exchange->buffer + room, false};
    put_head(exchange, bytes, &out);
    PN_ASSERT(!out.overrun);
    exchange->content_type = NULL; /* the caller's: not to be kept beyond this call */
    exchange->head_sent = true;
    bytes = body_is_sent(exchange) ? bytes : 0;
    together = together < bytes ? together : bytes;
    if (together > 0) {
        memcpy(out.at, body, together);
    }
    size_t head = (size_t)(out.at - exchange->buffer);
    const piece first = {exchange->buffer, head + together, head, together};
    const piece rest = {(const char *)body + together, bytes - together, 0, bytes - together};
    rc = send_piece(exchange, &first);
    return rc == 0 ? send_piece(exchange, &rest) : rc;
}

/* ---- the body as it comes ---- */

/* The first byte of a streamed body: from now on status and fields are fixed. */
static int begin_stream(pirn_http_exchange *exchange) {
    exchange->status = exchange->status ? exchange->status : 200;
    size_t room = head_room(exchange) + CHUNK_PREFIX_ROOM;
    int rc = take_buffer(exchange, room + SUFFIX_ROOM);
    if (rc == 0) {
        exchange->prefix_room = room;
        exchange->begun = true;
    }
    return rc;
}

/* How many more bytes the buffer can gather, after growing it for `wanted` as far as it may. */
static size_t room_to_gather(pirn_http_exchange *exchange, size_t wanted) {
    size_t used = exchange->prefix_room + exchange->gathered + SUFFIX_ROOM;
    if (used + wanted > exchange->buffer_bytes && exchange->buffer_bytes < PN_HTTP_GATHER_BYTES) {
        size_t bytes = used + wanted > PN_HTTP_GATHER_BYTES / 4 ? PN_HTTP_GATHER_BYTES : PN_HTTP_GATHER_BYTES / 4;
        char *buffer = pn_malloc(bytes);
        if (buffer) { /* without memory the small one does: more writes */
            memcpy(buffer + exchange->prefix_room, exchange->buffer + exchange->prefix_room, exchange->gathered);
            free_buffer(exchange);
            exchange->buffer = buffer;
            exchange->buffer_bytes = bytes;
        }
    }
    return exchange->buffer_bytes - used;
}

static int ready_to_stream(pirn_http_exchange *exchange) {
    if (exchange->failed != 0) {
        return exchange->failed;
    }
    if (exchange->finished) {
        return PIRN_EALREADY;
    }
    return exchange->begun ? 0 : begin_stream(exchange);
}

int pirn_http_write(pirn_http_exchange *exchange, const void *data, size_t bytes) {
    const char *from = data;
    int rc = ready_to_stream(exchange);
    while (rc == 0 && bytes > 0) {
        size_t room = room_to_gather(exchange, bytes);
        size_t taken = bytes < room ? bytes : room;
        memcpy(exchange->buffer + exchange->prefix_room + exchange->gathered, from, taken);
        exchange->gathered += taken;
        exchange->body_bytes += taken;
        from += taken;
        bytes -= taken;
        if (bytes > 0) {
            rc = send_gathered(exchange, false);
        }
    }
    return rc;
}

int pirn_http_print(pirn_http_exchange *exchange, const char *format, ...) {
    char small[PRINT_BYTES];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (wanted < 0) {
        return PIRN_EINVAL;
    }
    if ((size_t)wanted < sizeof small) {
        return pirn_http_write(exchange, small, (size_t)wanted);
    }
    char *large = pn_malloc((size_t)wanted + 1);
    if (!large) {
        return PIRN_ENOMEM;
    }
    va_start(args, format);
    vsnprintf(large, (size_t)wanted + 1, format, args);
    va_end(args);
    int rc = pirn_http_write(exchange, large, (size_t)wanted);
    pn_free(large);
    return rc;
}

int pirn_http_flush(pirn_http_exchange *exchange) {
    int rc = ready_to_stream(exchange);
    if (rc != 0 || (exchange->head_sent && exchange->gathered == 0)) {
        return rc;
    }
    return send_gathered(exchange, false);
}

/* ---- the end ---- */

int pn_http_response_finish(pirn_http_exchange *exchange) {
    if (exchange->failed != 0 || exchange->finished) {
        return exchange->failed;
    }
    if (!exchange->begun) { /* the handler chose nothing, or a status and fields alone */
        exchange->status = exchange->status ? exchange->status : 204;
    }
    int rc = ready_to_stream(exchange);
    exchange->finished = rc == 0;
    bool said_all = exchange->head_sent && exchange->gathered == 0 && exchange->framing != PN_HTTP_CHUNKED;
    return rc != 0 || said_all ? rc : send_gathered(exchange, true);
}

void pn_http_response_reset(pirn_http_exchange *exchange) {
    PN_ASSERT(!exchange->head_sent);
    exchange->begun = exchange->finished = exchange->has_type = false;
    exchange->status = exchange->failed = 0;
    exchange->content_type = NULL;
    exchange->fields_bytes = exchange->gathered = 0;
    exchange->body_bytes = 0;
    exchange->has_nosniff = false;
}

/* "404 Not Found\n" */
static size_t status_page(int status, char *text, size_t text_bytes) {
    return (size_t)snprintf(text, text_bytes, "%d %s\n", status, pn_http_reason(status));
}

int pn_http_reply_status(pirn_http_exchange *exchange, int status) {
    char page[80];
    size_t bytes = status_page(status, page, sizeof page);
    exchange->nosniff = true;
    if (status == 503) {
        (void)pirn_http_field(exchange, "Retry-After", RETRY_AFTER_S); /* without memory it goes without */
    }
    return pirn_http_reply(exchange, status, "text/plain; charset=utf-8", page, bytes);
}

size_t pn_http_refusal(int status, char *text, size_t text_bytes, size_t *body_bytes) {
    char page[80], date[PN_HTTP_DATE_BYTES];
    size_t bytes = status_page(status, page, sizeof page);
    pn_http_date(date);
    int length = snprintf(text, text_bytes,
                          "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                          "X-Content-Type-Options: nosniff\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n%s",
                          status, pn_http_reason(status), date, bytes,
                          status == 503 ? "Retry-After: " RETRY_AFTER_S "\r\n" : "", page);
    PN_ASSERT(length > 0 && (size_t)length < text_bytes);
    *body_bytes = bytes;
    return (size_t)length;
}
