/* SPDX-License-Identifier: MIT
 *
 * What: the fields of a request's head: reading one line, finding one by name, and looking through comma lists.
 * Threads: the owner of the bytes.
 * Source: RFC 9110 sections 5.1, 5.5 and 5.6.1; RFC 9112 section 5.
 */
#ifndef PN_HTTP_FIELD_H
#define PN_HTTP_FIELD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct pn_http_field {
    const char *name;
    const char *value;
    size_t name_bytes, value_bytes;
} pn_http_field;

/* Read "Name: value" of `bytes`, without its line end. The white space around the value does not belong to it: what
 * stands behind the value is moved before it, so that the value ends where the line does. An empty value starts there,
 * too. 0 or -400 (no name, no colon, a byte that may not be in a name or value). */
int pn_http_field_read(char *line, size_t bytes, pn_http_field *field);

/* Whether the field's whole value is `text`, in any case. */
bool pn_http_field_is(const pn_http_field *field, const char *text);

/* Whether `text` is one of the elements of a list of tokens, "a, b,,c", in any case. */
bool pn_http_list_has(const char *list, size_t bytes, const char *text);

#endif
