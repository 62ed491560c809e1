/* SPDX-License-Identifier: MIT
 *
 * What: makes libcurl close the idle connections that their servers have closed.
 *
 * How: libcurl looks for dead connections only when a transfer needs a connection, and once a second at most. So a
 *       sweep is a transfer whose socket is refused: libcurl looks, closes the dead ones, and gives the transfer up.
 *       Nothing is connected.
 * Threads: the reactor's.
 * Rejected: shutdown(2) of such a socket: its descriptor would stay. Closing it here: libcurl would close the number
 *       again.
 */
#include "http_sweep.h"

#include "base.h"
#include "reactor.h"

/* Libcurl 7.88 looks when a whole second has passed since its last look. */
#define PAUSE_NS (1005 * PIRN_MILLISECOND)

static struct {
    CURLM *multi;
    uv_timer_t timer;
    pirn_time next; /* not before */
    void (*swept)(void);
} sweep;

static curl_socket_t refuse_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)context;
    (void)purpose;
    (void)address;
    return CURL_SOCKET_BAD;
}

static void sweep_now(uv_timer_t *timer) {
    (void)timer;
    sweep.next = pirn_now() + PAUSE_NS;
    CURL *easy = curl_easy_init();
    if (easy) {
        (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
        (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, refuse_socket);
        if (curl_easy_setopt(easy, CURLOPT_URL, "http://127.0.0.1:9/") == CURLE_OK &&
            curl_multi_add_handle(sweep.multi, easy) == CURLM_OK) {
            int running = 0;
            (void)curl_multi_socket_action(sweep.multi, CURL_SOCKET_TIMEOUT, 0, &running);
            (void)curl_multi_remove_handle(sweep.multi, easy);
        }
        curl_easy_cleanup(easy);
    }
    sweep.swept();
}

void pn_http_sweep_start(CURLM *multi, void (*swept)(void)) {
    sweep.multi = multi;
    sweep.next = 0;
    sweep.swept = swept;
    PN_ASSERT(uv_timer_init(&pn_reactor_current.loop->uv, &sweep.timer) == 0);
}

void pn_http_sweep_ask(void) {
    if (!uv_is_active((uv_handle_t *)&sweep.timer)) {
        pn_loop_touch(pn_reactor_current.loop);
        uint64_t delay_ms = pn_loop_timeout_ms(pn_reactor_current.loop, sweep.next);
        PN_ASSERT(uv_timer_start(&sweep.timer, sweep_now, delay_ms, 0) == 0);
    }
}

void pn_http_sweep_fini(void) {
    uv_close((uv_handle_t *)&sweep.timer, NULL);
}
