/* SPDX-License-Identifier: MIT
 *
 * What: HTML escaping, urlencoded fields, HTTP dates and reason phrases: pure functions on bytes.
 *
 * Threads: any; pn_http_date keeps one cache per worker, which only that worker touches, so it needs no lock. Outside
 *       of a worker it formats anew.
 * Invariants: (1) every function that writes text terminates it and never writes past the size it was given.
 * Rejected: strftime and gmtime for the date: they look at the locale and take locks, and this runs in every response.
 */
#include "http_text.h"

#include <time.h>

#include <pirn/http.h>
#include <pirn/tasklet.h>

#include "sched.h"

void pn_http_put(pn_http_out *out, const char *bytes, size_t count) {
    size_t room = (size_t)(out->end - out->at);
    if (count > room) {
        out->overrun = true;
        count = room;
    }
    if (count > 0) {
        memcpy(out->at, bytes, count);
    }
    out->at += count;
}

void pn_http_put_number(pn_http_out *out, uint64_t number) {
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    pn_http_put(out, digits + first, sizeof digits - first);
}

/* A bit for each byte of a token. Every byte of every field's name is looked up here. */
static const uint32_t token_bits[8] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff};

static inline bool is_token_char(unsigned char byte) {
    return token_bits[byte / 32] >> byte % 32 & 1;
}

bool pn_http_is_token_char(unsigned char byte) {
    return is_token_char(byte);
}

bool pn_http_is_token(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (!is_token_char((unsigned char)text[i])) {
            return false;
        }
    }
    return bytes > 0;
}

int pn_http_hex(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* Decode one byte of an urlencoded text at `*at`; moves past it. -1: a broken escape, or a NUL, which would end a C
 * string early. */
static int decode_byte(const char **at, const char *end) {
    char byte = *(*at)++;
    if (byte == '+') {
        return ' ';
    }
    if (byte == '%') {
        if (end - *at < 2 || pn_http_hex((*at)[0]) < 0 || pn_http_hex((*at)[1]) < 0) {
            return -1;
        }
        byte = (char)(pn_http_hex((*at)[0]) * 16 + pn_http_hex((*at)[1]));
        *at += 2;
    }
    return byte == '\0' ? -1 : (unsigned char)byte;
}

static bool name_matches(const char *at, const char *end, const char *name) {
    while (at < end && *name) {
        if (decode_byte(&at, end) != (unsigned char)*name++) {
            return false;
        }
    }
    return at == end && !*name;
}

static int decode_value(const char *at, const char *end, char *value, size_t value_bytes) {
    size_t length = 0;
    while (at < end) {
        int byte = decode_byte(&at, end);
        if (byte < 0 || length + 1 >= value_bytes) {
            value[0] = '\0'; /* no part of it, for a caller that does not look at the code */
            return byte < 0 ? PIRN_EINVAL : PIRN_ELIMIT;
        }
        value[length++] = (char)byte;
    }
    value[length] = '\0';
    return (int)length;
}

int pn_http_urlencoded(const char *text, size_t bytes, const char *name, char *value, size_t value_bytes) {
    if (value_bytes == 0) {
        return PIRN_EINVAL;
    }
    value[0] = '\0';
    const char *at = text, *end = text + bytes;
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop ? stop : end;
        const char *equals = memchr(at, '=', (size_t)(stop - at));
        equals = equals ? equals : stop;
        if (name_matches(at, equals, name)) {
            return decode_value(equals < stop ? equals + 1 : stop, stop, value, value_bytes);
        }
        at = stop < end ? stop + 1 : end;
    }
    return PIRN_EINVAL;
}

static const char *html_entity(char byte) {
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

size_t pirn_html_escape(const char *text, char *out, size_t out_bytes) {
    size_t wanted = 0, written = 0;
    bool cut = false;
    for (; *text; text++) {
        const char *entity = html_entity(*text);
        size_t length = entity ? strlen(entity) : 1;
        wanted += length;
        cut = cut || written + length >= out_bytes;
        if (!cut) { /* an entity is written whole or not at all */
            memcpy(out + written, entity ? entity : text, length);
            written += length;
        }
    }
    if (out_bytes > 0) {
        out[written] = '\0';
    }
    return wanted;
}

size_t pn_http_log_escape(const char *text, char *out, size_t out_bytes) {
    static const char digits[] = "0123456789abcdef";
    size_t written = 0;
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        bool plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
        if (written + (plain ? 1 : 4) >= out_bytes) {
            break;
        }
        if (plain) {
            out[written++] = (char)byte;
            continue;
        }
        memcpy(out + written, "\\x", 2);
        out[written + 2] = digits[byte >> 4];
        out[written + 3] = digits[byte & 15];
        written += 4;
    }
    if (out_bytes > 0) {
        out[written] = '\0';
    }
    return written;
}

static void put_two(char *at, unsigned number) {
    at[0] = (char)('0' + number / 10);
    at[1] = (char)('0' + number % 10);
}

/* Days since 1970 to year, month (0 is January) and day: the civil-from-days algorithm, with years that begin in
 * March so that the leap day is the last of its year. */
static void civil_from_days(int64_t days, unsigned *year, unsigned *month, unsigned *day) {
    int64_t shifted = days + 719468; /* days from 0000-03-01 to 1970-01-01 */
    int64_t era = shifted / 146097;
    unsigned day_of_era = (unsigned)(shifted - era * 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * day_of_year + 2) / 153;
    *day = day_of_year - (153 * from_march + 2) / 5 + 1;
    *month = from_march < 10 ? from_march + 2 : from_march - 10;
    *year = (unsigned)(era * 400) + year_of_era + (*month < 2 ? 1 : 0);
}

void pn_http_date_format(int64_t unix_seconds, char *text) {
    static const char week[] = "ThuFriSatSunMonTueWed"; /* 1970 began on a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t days = unix_seconds / 86400;
    unsigned second = (unsigned)(unix_seconds % 86400), year, month, day;
    civil_from_days(days, &year, &month, &day);
    memcpy(text, "Thu, 01 Jan 1970 00:00:00 GMT", PN_HTTP_DATE_BYTES);
    memcpy(text, week + days % 7 * 3, 3);
    put_two(text + 5, day);
    memcpy(text + 8, months + month * 3, 3);
    put_two(text + 12, year / 100);
    put_two(text + 14, year % 100);
    put_two(text + 17, second / 3600);
    put_two(text + 20, second / 60 % 60);
    put_two(text + 23, second % 60);
}

void pn_http_date(char *text) {
    static struct {
        _Alignas(PN_CACHELINE) int64_t second; /* of `text`; that worker only */
        char text[PN_HTTP_DATE_BYTES];
    } cache[PN_WORKERS_MAX];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int worker = pirn_worker();
    if (worker < 0 || worker >= (int)PN_WORKERS_MAX) {
        pn_http_date_format(now.tv_sec, text);
        return;
    }
    if (cache[worker].second != now.tv_sec) {
        cache[worker].second = now.tv_sec;
        pn_http_date_format(now.tv_sec, cache[worker].text);
    }
    memcpy(text, cache[worker].text, PN_HTTP_DATE_BYTES);
}

const char *pn_http_reason(int status) {
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Status";
}
