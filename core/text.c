/* SPDX-License-Identifier: MIT
 *
 * What: see core/text.h.
 * Threads: any.
 */
#include "text.h"

#include <stdbool.h>
#include <string.h>

size_t pn_utf8_length(const char *text) {
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char first = bytes[0], low = 0x80, high = 0xbf; /* of the second byte */
    size_t length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : (first & 0xf0) == 0xe0 ? 3 : 0;
    if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
    }
    low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : low;
    high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : high;
    for (size_t i = 1; i < length; i++) {
        if (bytes[i] < low || bytes[i] > high) {
            return 0; /* the NUL, too */
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

/* Whether a terminal may show the character at `text`, of `length` bytes, as it is. */
static bool is_harmless(const char *text, size_t length) {
    const unsigned char *bytes = (const unsigned char *)text;
    if (length == 1) {
        return bytes[0] >= 0x20 && bytes[0] != 0x7f;
    }
    if (length == 2) {
        return bytes[0] != 0xc2 || bytes[1] >= 0xa0; /* U+0080 to U+009F: C1 */
    }
    if (length == 3 && bytes[0] == 0xe2) { /* U+2028 to U+202E, U+2066 to U+2069 */
        return !(bytes[1] == 0x80 && bytes[2] >= 0xa8 && bytes[2] <= 0xae) &&
               !(bytes[1] == 0x81 && bytes[2] >= 0xa6 && bytes[2] <= 0xa9);
    }
    return length > 0;
}

static void put_escaped(char *out, unsigned char byte) {
    static const char digits[] = "0123456789abcdef";
    out[0] = '\\';
    out[1] = 'x';
    out[2] = digits[byte >> 4];
    out[3] = digits[byte & 15];
}

size_t pn_text_clean(const char *text, char *out, size_t out_bytes) {
    const char *start = text;
    size_t written = 0;
    while (out_bytes > 0 && *text) {
        size_t length = pn_utf8_length(text);
        bool plain = is_harmless(text, length);
        length = length ? length : 1;
        size_t wanted = plain ? length : 4 * length;
        if (written + wanted >= out_bytes) {
            break;
        }
        if (plain) {
            memcpy(out + written, text, length);
        } else {
            for (size_t i = 0; i < length; i++) {
                put_escaped(out + written + 4 * i, (unsigned char)text[i]);
            }
        }
        written += wanted;
        text += length;
    }
    if (out_bytes > 0) {
        out[written] = '\0';
    }
    return (size_t)(text - start);
}
