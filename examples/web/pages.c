/* SPDX-License-Identifier: MIT
 *
 * What: the pages that are the same for everybody: /hello and the files that are built into the program.
 * Threads: one tasklet a request, on any worker; nothing here changes.
 */
#include "web.h"

#include <string.h>

/* Made from the files beside this one by cmake/PirnEmbed.cmake. */
extern const char chat_html[], chat_js[], site_css[];
extern const size_t chat_html_bytes, chat_js_bytes, site_css_bytes;

#define PIECE_BYTES 256
#define ESCAPED_MAX 6 /* bytes for one: &quot; */
#define PAGE_POLICY                                                                                                    \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; " \
    "frame-ancestors 'none'"

int write_escaped(pirn_http_exchange *exchange, const char *text, size_t length) {
    char piece[PIECE_BYTES + 1];
    char escaped[PIECE_BYTES * ESCAPED_MAX + 1];
    while (length) {
        size_t taken = length < PIECE_BYTES ? length : PIECE_BYTES;
        for (size_t i = 0; i < taken; i++) {
            piece[i] = text[i] ? text[i] : '?'; /* a NUL would end the piece */
        }
        piece[taken] = '\0';
        size_t bytes = pirn_html_escape(piece, escaped, sizeof escaped);
        int status = pirn_http_write(exchange, escaped, bytes);
        if (status) {
            return status;
        }
        text += taken;
        length -= taken;
    }
    return 0;
}

static int serve_hello(pirn_http_exchange *exchange, void *context) {
    (void)context;
    return pirn_http_reply(exchange, 200, "text/plain", "Hello, world!", 13);
}

static int serve_chat(pirn_http_exchange *exchange, void *context) {
    (void)context;
    pirn_http_field(exchange, "Content-Security-Policy", PAGE_POLICY);
    return pirn_http_reply(exchange, 200, "text/html; charset=utf-8", chat_html, chat_html_bytes);
}

static int serve_script(pirn_http_exchange *exchange, void *context) {
    (void)context;
    return pirn_http_reply(exchange, 200, "text/javascript; charset=utf-8", chat_js, chat_js_bytes);
}

static int serve_style(pirn_http_exchange *exchange, void *context) {
    (void)context;
    return pirn_http_reply(exchange, 200, "text/css; charset=utf-8", site_css, site_css_bytes);
}

int pages_routes(web_site *site) {
    static const struct {
        const char *path;
        pirn_http_handler handler;
    } pages[] = {
        {"/hello", serve_hello}, {"/chat", serve_chat}, {"/chat.js", serve_script}, {"/site.css", serve_style}};
    int status = 0;
    for (size_t i = 0; !status && i < sizeof pages / sizeof *pages; i++) {
        status = pirn_http_route(site->server, "GET", pages[i].path, 0, pages[i].handler, site);
    }
    return status;
}
