/* SPDX-License-Identifier: MIT
 *
 * What: see core/call.h.
 * Threads: the tasklet's home.
 */
#include "call.h"

#include "alloc.h"
#include "failure.h"

static pirn_failure *take_failure_of_tasklet(int code) {
    pn_tasklet *current = pn_current();
    if (!current || pirn_failure_code(current->failure) != code) {
        return NULL;
    }
    pirn_failure *failure = current->failure;
    current->failure = NULL;
    return failure;
}

void pn_call_conclude(pirn_result *result, int code) {
    if (code == 0 && result->status == 0) {
        return;
    }
    result->status = code > 0 ? code : result->status;
    pn_result_refuse_positive(result);
    pirn_result failed = {.status = code < 0 ? code : result->status, .failure = result->failure};
    result->failure = NULL;
    pirn_result_drop(result); /* a half-made value is nobody's */
    if (!failed.failure) {
        failed.failure = take_failure_of_tasklet(failed.status);
    }
    *result = failed;
}

pn_tasklet *pn_call_spawn(const pirn_spawn_options *options, pirn_fn fn, void *arg, const pn_ending *ending,
                          const char *file, int line) {
    pn_cleanup *cleanup = pn_malloc(sizeof *cleanup);
    pn_tasklet *tasklet = cleanup ? pn_tasklet_spawn(pn_sched_self(), options, fn, arg, file, line) : NULL;
    if (!tasklet) {
        pn_free(cleanup);
        return NULL;
    }
    *cleanup = (pn_cleanup){.fn = ending->fn, .arg = ending->arg};
    tasklet->cleanups = cleanup;
    return tasklet;
}
