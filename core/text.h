/* SPDX-License-Identifier: MIT
 *
 * What: text of users and of the network, made fit for a line that a terminal shows.
 * Threads: any; no state, no memory.
 */
#ifndef PN_TEXT_H
#define PN_TEXT_H

#include <stddef.h>

/* The bytes of the UTF-8 character at `text` (RFC 3629: not longer than need be, no surrogates), 0 when there is none.
 * `text` is terminated. */
size_t pn_utf8_length(const char *text);

/* Copy `text` and write each byte that could steer a terminal as \xHH: control characters (C0, DEL and C1), those that
 * change the direction of writing or break a line, and bytes that are no UTF-8. Cut before a character that does not
 * fit; always terminated. Returns how many bytes of `text` were taken; `text` and `out` do not overlap. */
size_t pn_text_clean(const char *text, char *out, size_t out_bytes);

#endif
