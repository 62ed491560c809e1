/* SPDX-License-Identifier: MIT
 *
 * What: wrk's figures, and a process's CPU time.
 * Threads: one.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "path.h"

/* One line of wrk's report; false: it tells of failed requests. */
static bool read_line(const char *line, load_result *result) {
    char unit[8];
    double number;
    uint64_t requests;
    if (sscanf(line, " %" SCNu64 " requests in %lf%7[a-z]", &requests, &number, unit) == 3) {
        result->requests = requests;
        result->seconds = strcmp(unit, "m") == 0 ? number * 60 : strcmp(unit, "ms") == 0 ? number / 1000 : number;
    }
    return !strstr(line, "Non-2xx") && !strstr(line, "Socket errors") && !strstr(line, "unable to connect");
}

int load_wrk(unsigned port, unsigned connections, int64_t ns, load_result *result) {
    *result = (load_result){0};
    if (!path_has_program("wrk")) {
        return -ENOENT;
    }
    char command[160], line[256];
    int64_t seconds = (ns + 999999999) / 1000000000;
    snprintf(command, sizeof command, "wrk -t1 -c%u -d%" PRId64 "s http://127.0.0.1:%u/hello 2>&1", connections,
             seconds, port);
    FILE *report = popen(command, "r");
    if (!report) {
        return -errno;
    }
    bool clean = true;
    while (fgets(line, sizeof line, report)) {
        clean = read_line(line, result) && clean;
    }
    int status = pclose(report);
    return status == 0 && clean && result->requests > 0 && result->seconds > 0 ? 0 : -EPROTO;
}

int64_t load_cpu_ns(pid_t process) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    DIR *tasks = opendir(path);
    if (!tasks) {
        return -errno;
    }
    int64_t sum = 0;
    for (const struct dirent *task = readdir(tasks); task; task = readdir(tasks)) {
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", (int)process, task->d_name);
        FILE *stat = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        int64_t ns = 0;
        if (stat) {
            sum += fscanf(stat, "%" SCNd64, &ns) == 1 ? ns : 0;
            fclose(stat);
        }
    }
    closedir(tasks);
    return sum;
}
