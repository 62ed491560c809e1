/* SPDX-License-Identifier: MIT
 *
 * What: makes libcurl close the idle connections that their servers have closed.
 * Threads: the reactor's.
 */
#ifndef PN_HTTP_SWEEP_H
#define PN_HTTP_SWEEP_H

#include <curl/curl.h>

/* `swept` is called after each sweep. */
void pn_http_sweep_start(CURLM *multi, void (*swept)(void));
/* Sweep as soon as libcurl allows. */
void pn_http_sweep_ask(void);
void pn_http_sweep_fini(void);

#endif
