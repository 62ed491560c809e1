/* SPDX-License-Identifier: MIT
 *
 * What: the little that reports share about where things were made.
 * Threads: any.
 */
#ifndef PN_FAILURE_H
#define PN_FAILURE_H

#include "base.h"

/* The last component of a path, for lines: __FILE__ is as long as the build's folder. "?" for NULL. */
const char *pn_base_name(const char *path);

/* Destroy `value`; `drop` may be NULL. A wait in `drop` gives PIRN_ETHREAD, on whatever stack it runs. */
void pn_value_drop(pirn_drop_fn drop, void *value);

/* A positive status, which users' functions may leave by mistake, becomes a failure with PIRN_EFAILED that says so. */
void pn_result_fail_positive(pirn_result *result);
static inline void pn_result_refuse_positive(pirn_result *result) {
    if (PN_UNLIKELY(result->status > 0)) {
        pn_result_fail_positive(result);
    }
}

/* "PIRN_EDB: no such table (made at ...)", or the code's own sentence where there is no failure. Returns `text`. */
const char *pn_result_describe(const pirn_result *result, char *text, size_t text_bytes);

#endif
