/* SPDX-License-Identifier: MIT
 *
 * What: the runtime's options with their defaults filled in, or one line that says what is wrong with them.
 * Threads: any.
 */
#ifndef PN_OPTIONS_H
#define PN_OPTIONS_H

#include <pirn/runtime.h>

/* NULL: the defaults. 0, or PIRN_EINVAL after one line on stderr that names the option and its range. */
int pn_options_resolve(const pirn_options *given, pirn_options *resolved);
/* How many CPUs there are to use: the smaller of `cores` and of `quota` hundredths (0: none) rounded up. */
unsigned pn_options_count_cpus(unsigned cores, unsigned quota);
/* Why there are so many workers, in words: "the cgroup's quota is 1.50 CPUs". */
void pn_options_explain_workers(const pirn_options *given, unsigned workers, char *text, size_t text_bytes);

#endif
