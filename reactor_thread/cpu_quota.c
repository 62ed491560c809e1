/* SPDX-License-Identifier: MIT
 *
 * What: see reactor_thread/cpu_quota.h. /proc/self/cgroup names the group, /proc/self/mountinfo the folders of the
 *       groups; the group's folder and each one above it, up to the mount point, may have a quota.
 * Threads: any; no state.
 * A container often sees its own group's folder as the mount point, or a group's path of the host's that is not below
 * it: then the mount point itself is looked at.
 */
#include "cpu_quota.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define HUNDREDTHS 100u
#define QUOTA_MAX  (100000u * HUNDREDTHS) /* more CPUs than any machine has: as good as none */
#define PATH_BYTES (2 * PATH_MAX)
#define LINE_BYTES (2 * PATH_MAX)
#define LEVELS_MAX 256 /* of groups in groups */

typedef enum version { V1, V2 } version;

/* One mounted hierarchy that may have quotas. */
typedef struct hierarchy {
    version version;
    char root[PATH_MAX];  /* the group that is shown at the mount point */
    char point[PATH_MAX]; /* the mount point */
} hierarchy;

static FILE *open_below(const char *root, const char *path) {
    char whole[PATH_BYTES];
    int length = snprintf(whole, sizeof whole, "%s%s", root, path);
    return length > 0 && (size_t)length < sizeof whole ? fopen(whole, "re") : NULL;
}

/* ---- quotas ---- */

static unsigned smaller(unsigned a, unsigned b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* In hundredths, rounded up; 0: no quota. */
static unsigned share(long long quota, long long period) {
    if (quota <= 0 || period <= 0 || quota / period >= QUOTA_MAX / HUNDREDTHS) {
        return 0;
    }
    return (unsigned)((quota * HUNDREDTHS + period - 1) / period);
}

static bool read_numbers(const char *root, const char *folder, const char *file, long long *first, long long *second) {
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *in = length > 0 && (size_t)length < sizeof path ? open_below(root, path) : NULL;
    if (!in) {
        return false;
    }
    int wanted = second ? 2 : 1;
    int found = second ? fscanf(in, "%lld %lld", first, second) : fscanf(in, "%lld", first);
    (void)fclose(in);
    return found == wanted; /* not so for "max 100000" */
}

static unsigned quota_of(const char *root, const hierarchy *in, const char *folder) {
    long long quota, period;
    if (in->version == V2) {
        return read_numbers(root, folder, "cpu.max", &quota, &period) ? share(quota, period) : 0;
    }
    bool both = read_numbers(root, folder, "cpu.cfs_quota_us", &quota, NULL) &&
                read_numbers(root, folder, "cpu.cfs_period_us", &period, NULL);
    return both ? share(quota, period) : 0;
}

/* Of the group's folder and all above it. `group`: as /proc/self/cgroup names it. */
static unsigned quota_up_from(const char *root, const hierarchy *in, const char *group) {
    char folder[PATH_BYTES];
    size_t root_length = strcmp(in->root, "/") == 0 ? 0 : strlen(in->root);
    bool below = strncmp(group, in->root, root_length) == 0 && (group[root_length] == '/' || !group[root_length]) &&
                 !strstr(group, "/..");
    const char *rest = below && strcmp(group, "/") != 0 ? group + root_length : "";
    size_t point_length = strlen(in->point);
    int length = snprintf(folder, sizeof folder, "%s%s", in->point, rest);
    if (length < 0 || (size_t)length >= sizeof folder) {
        return 0;
    }
    unsigned least = 0;
    for (int level = 0; level < LEVELS_MAX; level++) {
        least = smaller(least, quota_of(root, in, folder));
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < point_length) {
            break;
        }
        *slash = '\0';
    }
    return least;
}

/* ---- which group, which folder ---- */

static bool has_word(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',') {
        if (strcspn(at, ",\n ") == length && strncmp(at, word, length) == 0) {
            return true;
        }
    }
    return false;
}

/* The group's path in a line "0::/a/b" (v2) or "4:cpu,cpuacct:/a/b" (v1), without its newline; NULL: another one's. */
static const char *group_in(char *line, version wanted) {
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path) {
        return NULL;
    }
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    bool is_v2 = strcmp(line, "0:") == 0;
    return (wanted == V2 ? is_v2 : has_word(controllers + 1, "cpu")) ? path : NULL;
}

/* Mount points have their white space as "\040". */
static void unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from; to++) {
        bool octal = from[0] == '\\' && strspn(from + 1, "01234567") >= 3;
        *to = octal ? (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0')) : *from;
        from += octal ? 4 : 1;
    }
    *to = '\0';
}

/* A line of /proc/self/mountinfo. False: no hierarchy with quotas. */
static bool hierarchy_in(const char *line, hierarchy *out) {
    char type[32], options[512];
    const char *tail = strstr(line, " - ");
    if (!tail || sscanf(tail, " - %31s %*s %511s", type, options) != 2 ||
        sscanf(line, "%*s %*s %*s %4095s %4095s", out->root, out->point) != 2) {
        return false;
    }
    unescape(out->root);
    unescape(out->point);
    out->version = strcmp(type, "cgroup2") == 0 ? V2 : V1;
    return out->version == V2 || (strcmp(type, "cgroup") == 0 && has_word(options, "cpu"));
}

static unsigned quota_in(const char *root, const hierarchy *in) {
    FILE *groups = open_below(root, "/proc/self/cgroup");
    char line[LINE_BYTES];
    unsigned least = 0;
    while (groups && fgets(line, sizeof line, groups)) {
        const char *group = group_in(line, in->version);
        if (group) {
            least = smaller(least, quota_up_from(root, in, group));
        }
    }
    if (groups) {
        (void)fclose(groups);
    }
    return least;
}

unsigned pn_cpu_quota(const char *root) {
    FILE *mounts = open_below(root, "/proc/self/mountinfo");
    char line[LINE_BYTES];
    hierarchy found;
    unsigned least = 0;
    while (mounts && fgets(line, sizeof line, mounts)) {
        if (hierarchy_in(line, &found)) {
            least = smaller(least, quota_in(root, &found));
        }
    }
    if (mounts) {
        (void)fclose(mounts);
    }
    return least;
}
