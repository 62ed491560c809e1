/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/cpu_quota.c on files made in a folder that stands for the root.
 */
#include "test.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu_quota.h"

static char root[64];

static void begin(void) {
    strcpy(root, "/tmp/pirn-quota-test-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where) {
    (void)status, (void)type, (void)where;
    return remove(path);
}

static void end(void) {
    cr_assert_eq(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* `text` into the file `path` below the root; its folders are made. */
static void put(const char *path, const char *text) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        (void)mkdir(whole, 0755);
        *at = '/';
    }
    FILE *out = fopen(whole, "w");
    cr_assert_not_null(out, "%s", whole);
    fputs(text, out);
    cr_assert_eq(fclose(out), 0);
}

#define V2_MOUNT "30 23 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
#define OTHERS                                                                                                         \
    "23 1 0:21 / / rw - ext4 /dev/sda1 rw\nnonsense\n33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup "           \
    "rw,cpuset\n"

/* Goal: with cgroup v2 the smallest quota of the own group and of all above it counts. Method: a group three deep, in
 * which each level in turn has the smallest one; "max"; a fraction, which is rounded up. */
Test(cpu_quota, v2_smallest_of_all_levels_counts) {
    begin();
    put("/proc/self/mountinfo", OTHERS V2_MOUNT);
    put("/proc/self/cgroup", "0::/a/b/c\n");
    cr_assert_eq(pn_cpu_quota(root), 0, "no file says anything");
    put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    cr_assert_eq(pn_cpu_quota(root), 0);
    put("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
    cr_assert_eq(pn_cpu_quota(root), 400);
    put("/sys/fs/cgroup/a/cpu.max", "150001 100000\n");
    cr_assert_eq(pn_cpu_quota(root), 151);
    put("/sys/fs/cgroup/a/b/c/cpu.max", "5000 100000\n");
    cr_assert_eq(pn_cpu_quota(root), 5);
    put("/sys/fs/cgroup/cpu.max", "1 1000000\n");
    cr_assert_eq(pn_cpu_quota(root), 1);
    put("/sys/fs/cgroup/a/b/c/d/cpu.max", "1 1000000\n");
    put("/sys/fs/cgroup/cpu.max", "max\n");
    cr_assert_eq(pn_cpu_quota(root), 5, "a group below ours is not ours");
    end();
}

/* Goal: with cgroup v1 the quota and the period of the hierarchy "cpu" count. Method: one with several controllers in
 * one mount, beside one whose name only begins so; -1 is none; a level above. */
Test(cpu_quota, v1_quota_of_the_cpu_hierarchy_counts) {
    begin();
    put("/proc/self/mountinfo", OTHERS V1_MOUNT);
    put("/proc/self/cgroup", "5:cpuset:/other\n4:cpu,cpuacct:/jobs/one\n1:name=systemd:/x\n");
    put("/sys/fs/cgroup/cpuset/other/cpu.cfs_quota_us", "1000\n");
    put("/sys/fs/cgroup/cpuset/other/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/one/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/one/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(pn_cpu_quota(root), 0);
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "200000\n");
    cr_assert_eq(pn_cpu_quota(root), 0, "without a period there is no quota");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(pn_cpu_quota(root), 200);
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/one/cpu.cfs_quota_us", "25000\n");
    cr_assert_eq(pn_cpu_quota(root), 25);
    end();
}

/* Goal: the quota is found in a container. Method: the mount shows the container's own group as its root; the group's
 * path is the host's and is not below it; it is "/../..", as a group outside the namespace is; white space in paths. */
Test(cpu_quota, container_sees_its_own_quota) {
    begin();
    put("/proc/self/mountinfo", "30 23 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("/proc/self/cgroup", "0::/docker/abc\n");
    cr_assert_eq(pn_cpu_quota(root), 200);
    put("/proc/self/cgroup", "0::/docker/abc/sub\n");
    put("/sys/fs/cgroup/sub/cpu.max", "100000 100000\n");
    cr_assert_eq(pn_cpu_quota(root), 100);
    put("/proc/self/cgroup", "0::/docker/abcd\n");
    cr_assert_eq(pn_cpu_quota(root), 200);
    put("/proc/self/cgroup", "0::/../../other\n");
    cr_assert_eq(pn_cpu_quota(root), 200);
    put("/proc/self/mountinfo", "30 23 0:27 / /a\\040folder/cg rw - cgroup2 cgroup rw\n");
    put("/a folder/cg/g/cpu.max", "300000 100000\n");
    put("/proc/self/cgroup", "0::/g\n");
    cr_assert_eq(pn_cpu_quota(root), 300);
    end();
}

/* Goal: what cannot be read, or is no number, is no quota.
 * Method: no files; empty ones; words, negative and huge numbers, a period of 0. */
Test(cpu_quota, nonsense_is_no_quota) {
    static const char *const bad[] = {
        "", "x", "max max", "-1 100000", "100000 0", "100000 -5", "0 100000\n", "100000 x\n", "9223372036854775807 1"};
    begin();
    cr_assert_eq(pn_cpu_quota(root), 0);
    put("/proc/self/cgroup", "");
    put("/proc/self/mountinfo", V2_MOUNT);
    cr_assert_eq(pn_cpu_quota(root), 0);
    put("/proc/self/cgroup", "\n:\n0:\n0::\n0::/\n::::\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("/sys/fs/cgroup/cpu.max", bad[i]);
        cr_assert_eq(pn_cpu_quota(root), 0, "\"%s\"", bad[i]);
    }
    end();
}
