/* SPDX-License-Identifier: MIT
 *
 * What: pn_http_url: libcurl's URL parser, and what may be shown of a URL.
 *
 * Threads: any.
 */
#include "http_url.h"

#include <curl/curl.h>
#include <string.h>

#include "ascii.h"

void pn_http_url_fini(pn_http_url *url) {
    curl_free(url->text);
    curl_free(url->scheme);
    curl_free(url->host);
    curl_free(url->port);
    curl_free(url->zone);
    curl_free(url->user);
    curl_free(url->password);
    *url = (pn_http_url){0};
}

/* A part that may be absent. */
static CURLUcode get_optional(CURLU *parts, CURLUPart which, CURLUcode absent, char **to) {
    CURLUcode code = curl_url_get(parts, which, to, which == CURLUPART_ZONEID ? 0 : CURLU_URLDECODE);
    return code == absent ? CURLUE_OK : code;
}

static CURLUcode get_parts(CURLU *parts, pn_http_url *url) {
    CURLUcode code = curl_url_get(parts, CURLUPART_SCHEME, &url->scheme, 0);
    if (code == CURLUE_OK) {
        code = curl_url_get(parts, CURLUPART_HOST, &url->host, CURLU_PUNYCODE);
    }
    if (code == CURLUE_OK) {
        code = curl_url_get(parts, CURLUPART_PORT, &url->port, CURLU_DEFAULT_PORT);
    }
    if (code == CURLUE_OK) {
        code = get_optional(parts, CURLUPART_ZONEID, CURLUE_NO_ZONEID, &url->zone);
    }
    if (code == CURLUE_OK) {
        code = get_optional(parts, CURLUPART_USER, CURLUE_NO_USER, &url->user);
    }
    if (code == CURLUE_OK) {
        code = get_optional(parts, CURLUPART_PASSWORD, CURLUE_NO_PASSWORD, &url->password);
    }
    return code;
}

/* The URL without what is nobody's business but the server's. */
static CURLUcode get_text(CURLU *parts, pn_http_url *url) {
    static const CURLUPart removed[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_FRAGMENT};
    for (size_t i = 0; i < sizeof removed / sizeof removed[0]; i++) {
        CURLUcode code = curl_url_set(parts, removed[i], NULL, 0);
        if (code != CURLUE_OK) {
            return code;
        }
    }
    return curl_url_get(parts, CURLUPART_URL, &url->text, 0);
}

static bool is_http(const char *scheme) {
    return pn_ascii_equal(scheme, "http") || pn_ascii_equal(scheme, "https");
}

const char *pn_http_url_parse(pn_http_url *url, const pn_http_url *base, const char *text) {
    *url = (pn_http_url){0};
    CURLU *parts = curl_url();
    if (!parts) {
        return "no memory";
    }
    CURLUcode code = base ? curl_url_set(parts, CURLUPART_URL, base->text, 0) : CURLUE_OK;
    if (code == CURLUE_OK) {
        /* A Location field may hold bytes that a URL must not. */
        code = curl_url_set(parts, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME | (base ? CURLU_URLENCODE : 0));
    }
    const char *wrong = NULL;
    char *scheme = NULL;
    if (code == CURLUE_OK && curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && !is_http(scheme)) {
        wrong = "only http and https are served";
    }
    curl_free(scheme);
    if (code == CURLUE_OK && !wrong) {
        code = get_parts(parts, url);
    }
    if (code == CURLUE_OK && !wrong) {
        code = get_text(parts, url);
    }
    if (code != CURLUE_OK) {
        wrong = curl_url_strerror(code);
    }
    curl_url_cleanup(parts);
    if (wrong) {
        pn_http_url_fini(url);
    }
    return wrong;
}

bool pn_http_url_same_origin(const pn_http_url *one, const pn_http_url *two) {
    bool same_zone = one->zone && two->zone ? strcmp(one->zone, two->zone) == 0 : one->zone == two->zone;
    return same_zone && pn_ascii_equal(one->scheme, two->scheme) && pn_ascii_equal(one->host, two->host) &&
           strcmp(one->port, two->port) == 0;
}

/* In a text that is no URL, nobody knows where a password ends. So all before the last "@" goes, but for the scheme. */
const char *pn_http_url_show(const char *text, char shown[PN_URL_SHOWN_BYTES]) {
    const char *rest = strrchr(text, '@');
    const char *scheme_end = strstr(text, "://");
    size_t length = 0;
    if (rest) {
        size_t scheme_bytes = scheme_end && scheme_end < rest ? (size_t)(scheme_end - text) + 3 : 0;
        length = scheme_bytes <= 16 ? scheme_bytes : 0;
        memcpy(shown, text, length);
        memcpy(shown + length, "***", 3);
        length += 3;
    } else {
        rest = text;
    }
    for (; *rest && length < PN_URL_SHOWN_BYTES - 1; rest++) {
        shown[length++] = (unsigned char)*rest < 0x20 || *rest == 0x7f ? '?' : *rest;
    }
    shown[length] = '\0';
    return shown;
}
