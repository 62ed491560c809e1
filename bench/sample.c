/* SPDX-License-Identifier: MIT
 *
 * What: one sample: fork, run, read the figures from the pipe, judge how the child ended.
 * Threads: one: the parent never has a second thread, so that the fork is sound.
 * Rejected: all samples in one process: what the first leaves behind (heap, page tables, warm caches of stacks)
 *       would be part of the second, and a hang would end the whole run.
 */
#include "sample.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "out.h"

#define SAMPLE_LIMIT_S 120u

static const char *mode_name(pirn_mode mode) {
    return mode == PIRN_MODE_SINGLE ? "single" : "threaded";
}

/* A single worker performs its own I/O, whatever the option says. */
static const char *poll_name(const bench_setting *setting) {
    return setting->mode == PIRN_MODE_SINGLE || setting->poll == PIRN_POLL_WORKER ? "worker" : "reactor";
}

static void describe(const subject *who, series *like) {
    if (who->one) {
        snprintf(like->name, sizeof like->name, "%s", who->one->name);
        snprintf(like->mode, sizeof like->mode, "%s", mode_name(who->setting.mode));
        snprintf(like->poll, sizeof like->poll, "%s", poll_name(&who->setting));
    } else {
        snprintf(like->name, sizeof like->name, "%s", who->peer->case_name);
        snprintf(like->mode, sizeof like->mode, "peer");
        snprintf(like->poll, sizeof like->poll, "-");
    }
}

static _Noreturn void child_main(const subject *who, int write_end) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no orphan goes on heating the machine */
    alarm(SAMPLE_LIMIT_S);
    bench_out out = {.pipe = fdopen(write_end, "w")};
    if (!out.pipe) {
        _exit(1);
    }
    int error = who->one ? who->one->run(&who->setting, &out) : who->peer->run(&out);
    if (error != 0) {
        fprintf(stderr, "pirn-bench: %s\n", pirn_strerror(error));
    }
    _exit(error == 0 ? 0 : 1);
}

static unsigned read_figures(int read_end, series *like, series_table *table) {
    unsigned figures = 0;
    bench_figure figure;
    char line[256];
    FILE *in = fdopen(read_end, "r");
    while (in && fgets(line, sizeof line, in)) {
        if (bench_out_parse(line, &figure, &like->workers)) {
            snprintf(like->variant, sizeof like->variant, "%s", figure.variant);
            snprintf(like->unit, sizeof like->unit, "%s", figure.unit);
            like->better = figure.better;
            figures += series_add(table, like, figure.value) ? 1 : 0;
        }
    }
    if (in) {
        fclose(in);
    }
    return figures;
}

static bool ended_well(pid_t child, const series *like, unsigned figures) {
    int status = 0;
    if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0 && figures > 0) {
        return true;
    }
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "pirn-bench: %s in %s/%s: %s\n", like->name, like->mode, like->poll,
                WTERMSIG(status) == SIGALRM ? "took too long" : strsignal(WTERMSIG(status)));
    } else {
        fprintf(stderr, "pirn-bench: %s in %s/%s failed\n", like->name, like->mode, like->poll);
    }
    return false;
}

bool sample_take(const subject *who, series_table *table) {
    series like = {.count = 0};
    int ends[2];
    describe(who, &like);
    fflush(NULL);
    if (pipe(ends) != 0) {
        perror("pirn-bench: pipe");
        return false;
    }
    pid_t child = fork();
    if (child < 0) {
        perror("pirn-bench: fork");
        close(ends[0]);
        close(ends[1]);
        return false;
    }
    if (child == 0) {
        close(ends[0]);
        child_main(who, ends[1]);
    }
    close(ends[1]);
    unsigned figures = read_figures(ends[0], &like, table);
    return ended_well(child, &like, figures);
}
