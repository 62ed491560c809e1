/* SPDX-License-Identifier: MIT
 *
 * What: comparisons of protocol text without regard to case, by ASCII's letters alone. strcasecmp() and tolower() ask
 *       the locale: under a Turkish one "TRANSFER-ENCODING" is not "Transfer-Encoding", and a server that overlooks
 *       that field loses the place where the next request begins.
 * Threads: any. Nothing here has state.
 */
#ifndef PN_ASCII_H
#define PN_ASCII_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline char pn_ascii_lower(char letter) {
    return letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
}

/* Whether two ranges of the same length are equal but for the case of their letters. */
static inline bool pn_ascii_equal_bytes(const char *one, const char *two, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (pn_ascii_lower(one[i]) != pn_ascii_lower(two[i])) {
            return false;
        }
    }
    return true;
}

/* Whether `bytes` of `one` are the string `text`. */
static inline bool pn_ascii_is(const char *one, size_t bytes, const char *text) {
    return strlen(text) == bytes && pn_ascii_equal_bytes(one, text, bytes);
}

static inline bool pn_ascii_equal(const char *one, const char *two) {
    return pn_ascii_is(one, strlen(one), two);
}

#endif
