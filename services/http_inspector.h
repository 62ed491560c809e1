/* SPDX-License-Identifier: MIT
 *
 * What: the two faces of one snapshot.
 * Threads: a request tasklet.
 */
#ifndef PN_HTTP_INSPECTOR_H
#define PN_HTTP_INSPECTOR_H

#include <pirn/http.h>
#include <pirn/inspect.h>
#include <pirn/runtime.h>

/* Stream `snapshot` as HTML for people or as JSON for programs. 0 or pirn_http_write's codes. */
int pn_http_inspector_html(pirn_http_exchange *exchange, const pirn_runtime_info *info, const pirn_snapshot *snapshot);
int pn_http_inspector_json(pirn_http_exchange *exchange, const pirn_runtime_info *info, const pirn_snapshot *snapshot);

const char *pn_http_mode_name(pirn_mode mode);
const char *pn_http_poll_name(const pirn_runtime_info *info);
const char *pn_http_guard_name(pirn_guard guard);

/* "1.5 ms", "12 s", "3 h 2 min". */
void pn_http_duration(pirn_time nanoseconds, char *text, size_t text_bytes);

#endif
