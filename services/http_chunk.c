/* SPDX-License-Identifier: MIT
 *
 * What: chunked transfer coding, RFC 9112 section 7.1, to the letter of its grammar and no further: 1 to 16
 *       hexadecimal digits, extensions of tokens and quoted strings (at most 256 bytes a chunk), CR LF everywhere,
 *       trailers checked and dropped.
 *
 * Threads: whoever owns the struct.
 * States:
 *       SIZE -> (EXT_START -> EXT_NAME -> (EXT_EQUALS -> EXT_TOKEN | EXT_QUOTED <-> EXT_ESCAPE -> EXT_AFTER))*
 *       SIZE, EXT_NAME, EXT_TOKEN, EXT_AFTER -> SIZE_LF
 *       SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE, or when the size was zero
 *       SIZE_LF -> LINE -> (TRAILER_NAME -> TRAILER_VALUE -> TRAILER_LF -> LINE)* -> LAST_LF -> OVER
 * Invariants: (1) outside of DATA one byte moves the machine by one step, so a split cannot change the verdict; (2)
 *       `left` cannot overflow: 16 hexadecimal digits are 64 bits.
 * Rejected: llhttp's own chunk states: it joins folded trailer lines before its callbacks see them, and takes any
 *       number of leading zeros and any length of extension; guarding it from outside needs this machine anyway.
 */
#include "http_chunk.h"

#include <stdbool.h>

#include "http_text.h"

enum {
    SIZE,
    EXT_START,
    EXT_NAME,
    EXT_EQUALS,
    EXT_TOKEN,
    EXT_QUOTED,
    EXT_ESCAPE,
    EXT_AFTER,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    OVER,
    BAD
};

/* Visible bytes, space, tab and bytes over 0x7f: what quoted strings and field values may hold. */
static bool is_text(char byte) {
    unsigned char value = (unsigned char)byte;
    return value == '\t' || (value >= 0x20 && value != 0x7f);
}

static int size_step(pn_http_chunk *chunk, char byte) {
    int digit = pn_http_hex(byte);
    if (digit >= 0) {
        chunk->left = chunk->left << 4 | (uint64_t)digit;
        return ++chunk->digits <= 16 ? SIZE : BAD;
    }
    if (chunk->digits == 0) {
        return BAD;
    }
    return byte == '\r' ? SIZE_LF : byte == ';' ? EXT_START : BAD;
}

/* After a complete name, token or string: the next extension or the end of the line. */
static int extension_end(char byte) {
    return byte == ';' ? EXT_START : byte == '\r' ? SIZE_LF : BAD;
}

static int extension_step(pn_http_chunk *chunk, char byte) {
    bool token = pn_http_is_token_char((unsigned char)byte);
    if (++chunk->extension_bytes > PN_HTTP_CHUNK_EXTENSION_BYTES_MAX) {
        return BAD;
    }
    switch (chunk->state) {
    case EXT_START:
        return token ? EXT_NAME : BAD;
    case EXT_NAME:
        return token ? EXT_NAME : byte == '=' ? EXT_EQUALS : extension_end(byte);
    case EXT_EQUALS:
        return token ? EXT_TOKEN : byte == '"' ? EXT_QUOTED : BAD;
    case EXT_TOKEN:
        return token ? EXT_TOKEN : extension_end(byte);
    case EXT_QUOTED:
        return byte == '"' ? EXT_AFTER : byte == '\\' ? EXT_ESCAPE : is_text(byte) ? EXT_QUOTED : BAD;
    case EXT_ESCAPE:
        return is_text(byte) ? EXT_QUOTED : BAD;
    default:
        return extension_end(byte);
    }
}

/* The LF that ends a size line: the data follows, or the trailers. */
static int size_line_end(pn_http_chunk *chunk) {
    chunk->digits = 0;
    chunk->extension_bytes = 0;
    return chunk->left > 0 ? DATA : LINE;
}

static int trailer_step(pn_http_chunk *chunk, char byte) {
    bool token = pn_http_is_token_char((unsigned char)byte);
    chunk->trailer_bytes++;
    switch (chunk->state) {
    case LINE:
        return token ? TRAILER_NAME : byte == '\r' ? LAST_LF : BAD;
    case TRAILER_NAME:
        return token ? TRAILER_NAME : byte == ':' ? TRAILER_VALUE : BAD;
    default:
        return byte == '\r' ? TRAILER_LF : is_text(byte) ? TRAILER_VALUE : BAD;
    }
}

static int step(pn_http_chunk *chunk, char byte) {
    switch (chunk->state) {
    case SIZE:
        return size_step(chunk, byte);
    case SIZE_LF:
        return byte == '\n' ? size_line_end(chunk) : BAD;
    case DATA_CR:
        return byte == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return byte == '\n' ? SIZE : BAD;
    case LINE:
    case TRAILER_NAME:
    case TRAILER_VALUE:
        return trailer_step(chunk, byte);
    case TRAILER_LF:
        return byte == '\n' ? LINE : BAD;
    case LAST_LF:
        return byte == '\n' ? OVER : BAD;
    case OVER:
    case BAD:
        return BAD;
    default:
        return extension_step(chunk, byte);
    }
}

/* Hand out as much of the chunk's data as is there. */
static size_t take_data(pn_http_chunk *chunk, size_t bytes) {
    size_t taken = bytes < chunk->left ? bytes : (size_t)chunk->left;
    chunk->left -= taken;
    if (chunk->left == 0) {
        chunk->state = DATA_CR;
    }
    return taken;
}

int pn_http_chunk_feed(pn_http_chunk *chunk, const char *data, size_t bytes, size_t trailer_bytes_max, size_t *used,
                       const char **span, size_t *span_bytes) {
    *span = NULL;
    *span_bytes = 0;
    for (*used = 0; *used < bytes;) {
        if (chunk->state == DATA) {
            *span = data + *used;
            *span_bytes = take_data(chunk, bytes - *used);
            *used += *span_bytes;
            return 0;
        }
        chunk->state = (uint8_t)step(chunk, data[(*used)++]);
        if (chunk->state == OVER) {
            return 1;
        }
        if (chunk->state == BAD) {
            return -400;
        }
        if (chunk->trailer_bytes > trailer_bytes_max) {
            return -431;
        }
    }
    return 0;
}
