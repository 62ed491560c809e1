/* SPDX-License-Identifier: MIT
 *
 * What: one reader of field lines for everything that is decided about a request. Framing, routing and handlers see
 *       the same names and values, because all of them come from here.
 *
 * Threads: the owner of the bytes.
 * Invariants: (1) name and value are ranges of their own line: terminating them writes to that line's colon and CR,
 *       and to no other line; (2) no white space is left at either end of a value.
 * Rejected: the ranges that llhttp's callbacks give. For an empty value its range begins in the next line, and
 *       terminating that range destroyed the next field's name.
 */
#include "http_field.h"

#include <stdint.h>
#include <string.h>

#include "ascii.h"
#include "http_text.h"

static bool is_space(char byte) {
    return byte == ' ' || byte == '\t';
}

static bool is_value_byte(unsigned char byte) {
    return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

/* Whether none of eight bytes is a control byte; also false when only a tab is among them. Without borrows between
 * bytes: the high bits are kept out of the sums. */
static bool are_plain(const char *text) {
    const uint64_t ones = 0x0101010101010101u, high = ones * 0x80;
    uint64_t eight;
    memcpy(&eight, text, sizeof eight);
    uint64_t low = eight & ~high;
    uint64_t not_control = low + ones * 0x60; /* the high bit: 0x20 or more */
    uint64_t is_delete = low + ones;          /* the high bit: 0x7f */
    return (((not_control & ~is_delete) | eight) & high) == high;
}

/* Visible bytes, space, tab and bytes over 0x7f. */
static bool is_value(const char *text, size_t bytes) {
    size_t i = 0;
    while (i < bytes) {
        if (bytes - i >= 8 && are_plain(text + i)) {
            i += 8;
        } else if (is_value_byte((unsigned char)text[i])) {
            i++;
        } else {
            return false;
        }
    }
    return true;
}

int pn_http_field_read(char *line, size_t bytes, pn_http_field *field) {
    char *colon = memchr(line, ':', bytes);
    if (!colon || !pn_http_is_token(line, (size_t)(colon - line))) {
        return -400;
    }
    char *start = colon + 1, *end = line + bytes, *stop = end;
    if (!is_value(start, (size_t)(end - start))) {
        return -400;
    }
    while (stop > start && is_space(stop[-1])) {
        stop--;
    }
    while (start < stop && is_space(*start)) {
        start++;
    }
    size_t length = (size_t)(stop - start);
    if (stop < end) {
        memmove(end - length, start, length);
        memset(colon + 1, ' ', (size_t)(end - length - colon - 1));
    }
    *field = (pn_http_field){line, end - length, (size_t)(colon - line), length};
    return 0;
}

bool pn_http_field_is(const pn_http_field *field, const char *text) {
    return pn_ascii_is(field->value, field->value_bytes, text);
}

bool pn_http_list_has(const char *list, size_t bytes, const char *text) {
    const char *end = list + bytes;
    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        const char *stop = comma ? comma : end, *next = comma ? comma + 1 : end;
        while (list < stop && is_space(*list)) {
            list++;
        }
        while (stop > list && is_space(stop[-1])) {
            stop--;
        }
        if (pn_ascii_is(list, (size_t)(stop - list), text)) {
            return true;
        }
        list = next;
    }
    return false;
}
