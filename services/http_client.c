/* SPDX-License-Identifier: MIT
 *
 * What: the blocking face of the HTTP client: fetch, wait, hand over the page.
 *
 * Threads: a tasklet. The transfer itself is the reactor's.
 * Invariants: (1) whatever ends the wait also ends the transfer or takes its page: nothing is left behind.
 */
#include <stdio.h>

#include <pirn/http.h>
#include <pirn/tasklet.h>

#include "sched.h"

int pirn_http_get(const char *url, pirn_http_page **page, char *error, size_t error_bytes, pirn_time deadline) {
    *page = NULL;
    if (error && error_bytes > 0) {
        error[0] = '\0';
    }
    if (pn_require_tasklet("pirn_http_get") != 0) {
        return PIRN_ETHREAD;
    }
    pirn_deferred *fetching = pirn_http_fetch(url, NULL);
    if (!fetching) {
        return PIRN_ENOMEM;
    }
    pirn_result result = {0};
    pn_set_doing(url);
    int rc = pirn_await_take(fetching, &result, deadline);
    pn_set_doing(NULL);
    if (rc == 0) {
        *page = result.value;
        return 0;
    }
    if (error) {
        const char *why = result.failure ? pirn_failure_message(result.failure) : pirn_strerror(rc);
        snprintf(error, error_bytes, "%s", why);
    }
    pirn_result_drop(&result);
    return rc;
}
