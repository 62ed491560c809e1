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

#endif
