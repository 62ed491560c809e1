/* SPDX-License-Identifier: MIT
 *
 * What: a blocking call on a thread of the pool while other tasklets of the same worker go on (Twisted's
 *       deferToThread).
 * A job owns its argument: it is allocated, and the pool frees it when the job is over, whatever became of the tasklet.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <pirn.h>

/* On the pool's thread: it may block. */
static int count_lines(void *arg, pirn_result *out) {
    FILE *file = fopen(arg, "r");
    if (!file) {
        return pirn_result_fail(out, -errno, "cannot read %s", (const char *)arg);
    }
    long *lines = calloc(1, sizeof *lines);
    for (int c = lines ? getc(file) : EOF; c != EOF; c = getc(file)) {
        *lines += c == '\n';
    }
    fclose(file);
    usleep(20000); /* a slow disk */
    out->value = lines;
    out->drop = free;
    return lines ? 0 : PIRN_ENOMEM;
}

/* Meanwhile, on the worker. */
static int spin(void *arg) {
    long *turns = arg;
    while (pirn_sleep_until(pirn_after(PIRN_MILLISECOND)) == 0) {
        ++*turns;
    }
    return 0;
}

static int run(void *path) {
    long turns = 0;
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet other = pirn_spawn_with(&options, spin, &turns);
    char *copy = malloc(4096);
    if (!copy) {
        return PIRN_ENOMEM;
    }
    snprintf(copy, 4096, "%s", (const char *)path);
    pirn_deferred *job = pirn_offload(count_lines, copy, free);
    pirn_result result = {0};
    int status = job ? pirn_await_take(job, &result, pirn_after(5 * PIRN_SECOND)) : PIRN_ENOMEM;
    if (status) {
        printf("%s\n", result.failure ? pirn_failure_message(result.failure) : pirn_strerror(status));
    } else {
        printf("%ld lines; the worker was %s meanwhile\n", *(long *)result.value, turns ? "busy" : "idle");
    }
    pirn_result_drop(&result);
    pirn_cancel(other);
    pirn_join(other, NULL, PIRN_FOREVER);
    return 0;
}

int main(int argument_count, char **arguments) {
    return pirn_run(NULL, run, argument_count > 1 ? arguments[1] : "/etc/passwd") ? 1 : 0;
}
