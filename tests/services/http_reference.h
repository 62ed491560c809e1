/* SPDX-License-Identifier: MIT
 *
 * What: a second reader of request heads, as simple as the grammar allows. It shares no code with the product, so tests
 *       can compare what both read from the same bytes.
 * Threads: the caller's.
 */
#ifndef HTTP_REFERENCE_H
#define HTTP_REFERENCE_H

#include <stddef.h>
#include <string.h>

#define REFERENCE_FIELDS_MAX 128

typedef struct reference_field {
    const char *name, *value; /* in the bytes that were read */
    size_t name_bytes, value_bytes;
} reference_field;

typedef struct reference {
    reference_field fields[REFERENCE_FIELDS_MAX];
    unsigned count;
} reference;

/* Where `text` is in bytes[from, length), or some place behind the last byte where it can begin. */
static inline size_t reference_find(const char *bytes, size_t from, size_t length, const char *text) {
    while (from + strlen(text) <= length && strncmp(bytes + from, text, strlen(text)) != 0) {
        from++;
    }
    return from;
}

/* Read the fields of the head that begins at `bytes`; returns the length of the head. It must be an honest one. */
static inline size_t reference_read(reference *r, const char *bytes, size_t length) {
    size_t at = reference_find(bytes, 0, length, "\r\n") + 2;
    r->count = 0;
    while (bytes[at] != '\r' && r->count < REFERENCE_FIELDS_MAX) {
        size_t end = reference_find(bytes, at, length, "\r\n");
        size_t colon = reference_find(bytes, at, end, ":");
        size_t first = colon + 1, last = end;
        while (first < last && (bytes[first] == ' ' || bytes[first] == '\t')) {
            first++;
        }
        while (last > first && (bytes[last - 1] == ' ' || bytes[last - 1] == '\t')) {
            last--;
        }
        r->fields[r->count++] = (reference_field){bytes + at, bytes + first, colon - at, last - first};
        at = end + 2;
    }
    return at + 2;
}

#endif
