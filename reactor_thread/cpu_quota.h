/* SPDX-License-Identifier: MIT
 *
 * What: the CPU quota of the process' control group.
 * Threads: any; no state.
 */
#ifndef PN_CPU_QUOTA_H
#define PN_CPU_QUOTA_H

/* The smallest quota of the group that this process is in and of those above it, in hundredths of a CPU, at least 1; 0:
 * there is none, or it cannot be read. cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us). `root` is put before each path
 * that is read: "" but in tests. */
unsigned pn_cpu_quota(const char *root);

#endif
