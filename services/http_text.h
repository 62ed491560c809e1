/* SPDX-License-Identifier: MIT
 *
 * What: the small texts of HTTP: urlencoded fields, percent decoding, dates, reason phrases, and an appender that
 *       never overruns.
 * Threads: any, but pn_http_date: a worker's (its cache belongs to the worker).
 */
#ifndef PN_HTTP_TEXT_H
#define PN_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PN_HTTP_DATE_BYTES 30 /* "Sun, 06 Nov 1994 08:49:37 GMT" and its end */

/* A place to write and its end. What does not fit is cut and remembered in `overrun`. */
typedef struct pn_http_out {
    char *at;
    char *end;
    bool overrun;
} pn_http_out;

void pn_http_put(pn_http_out *out, const char *bytes, size_t count);
void pn_http_put_number(pn_http_out *out, uint64_t number);
static inline void pn_http_put_text(pn_http_out *out, const char *text) {
    pn_http_put(out, text, strlen(text));
}

/* RFC 9110's tchar: what names of methods and fields are made of. */
bool pn_http_is_token_char(unsigned char byte);
bool pn_http_is_token(const char *text, size_t bytes); /* at least one */

/* Value of a hexadecimal digit, -1 for others. */
int pn_http_hex(char digit);

/* Find `name` in "a=1&b=2", decode its value ('+' is a space) into `value`, terminated. Returns its length,
 * PIRN_EINVAL (absent, a broken %, a NUL), PIRN_ELIMIT (too long); on failure "" is in `value`. */
int pn_http_urlencoded(const char *text, size_t bytes, const char *name, char *value, size_t value_bytes);

/* The present time as an IMF-fixdate, made once a second and worker. `text` is PN_HTTP_DATE_BYTES long. */
void pn_http_date(char *text);
/* The same for any time; years 1970 to 9999. */
void pn_http_date_format(int64_t unix_seconds, char *text);

/* "Not Found"; "Status" for a code without a name here. Static. */
const char *pn_http_reason(int status);

/* Copy `text` into `out` with bytes below 0x20 and above 0x7e, '"' and '\' as \xNN: safe in one line of a log, and on a
 * terminal. Returns bytes written, cut where `out_bytes` ends, always terminated. */
size_t pn_http_log_escape(const char *text, char *out, size_t out_bytes);

#endif
