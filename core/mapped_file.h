/* SPDX-License-Identifier: MIT
 *
 * What: which file is mapped at an address.
 * Threads: any; async-signal-safe.
 */
#ifndef PN_MAPPED_FILE_H
#define PN_MAPPED_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Into `path`, cut and terminated; false: no file is mapped there, or /proc cannot be read. */
bool pn_mapped_file(const void *address, char *path, size_t path_bytes);

#endif
