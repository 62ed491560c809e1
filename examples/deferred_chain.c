/* SPDX-License-Identifier: MIT
 *
 * What: Twisted's deferred: callbacks chained on a result that comes later, and a tasklet that waits for the end of the
 *       chain.
 */
#include <stdio.h>
#include <stdlib.h>

#include <pirn.h>
#include <pirn/reactor.h>

/* A link: the result is the callee's to change. */
static pirn_deferred *twice(void *context, pirn_result *result) {
    (void)context;
    *(int *)result->value *= 2;
    return NULL;
}

/* A link that turns a result into a failure: the next link for failures is the one that runs. */
static pirn_deferred *check(void *context, pirn_result *result) {
    int limit = *(int *)context;
    int value = *(int *)result->value;
    if (value > limit) {
        pirn_result_fail(result, PIRN_ELIMIT, "%d is more than %d", value, limit);
    }
    return NULL;
}

/* A link for failures: what went wrong becomes a result again. */
static pirn_deferred *rescue(void *context, pirn_result *result) {
    printf("rescued: %s\n", pirn_failure_message(result->failure));
    pirn_result_drop(result);
    result->value = context;
    return NULL;
}

/* The first link: the timer fires with nothing, the chain goes on with `value`, which is its own from here. */
static pirn_deferred *put_value(void *value, pirn_result *result) {
    result->value = value;
    result->drop = free;
    return NULL;
}

static int calculate(int start, int limit) {
    static int nothing = 0;
    int *value = malloc(sizeof *value);
    pirn_deferred *later = pirn_call_later(10 * PIRN_MILLISECOND);
    if (!value || !later) {
        free(value);
        pirn_deferred_release(later);
        return PIRN_ENOMEM;
    }
    *value = start;
    int status = pirn_deferred_add_callbacks(later, put_value, NULL, value);
    status = status ? status : pirn_deferred_add_callbacks(later, twice, NULL, NULL);
    status = status ? status : pirn_deferred_add_callbacks(later, check, NULL, &limit);
    status = status ? status : pirn_deferred_add_callbacks(later, NULL, rescue, &nothing);
    pirn_result result = {0};
    status = status ? status : pirn_await(later, &result, PIRN_FOREVER);
    if (!status) {
        printf("%d becomes %d\n", start, *(int *)result.value);
    }
    pirn_deferred_release(later);
    return status;
}

static int run(void *unused) {
    (void)unused;
    int status = calculate(21, 100);
    return status ? status : calculate(80, 100);
}

int main(void) {
    return pirn_run(NULL, run, NULL) ? 1 : 0;
}
