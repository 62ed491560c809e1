/* SPDX-License-Identifier: MIT
 *
 * What: looking for programs and headers (see path.h).
 * Threads: any.
 */
#include "path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool path_has_program(const char *name) {
    const char *folder = getenv("PATH");
    char file[4096];
    while (folder && *folder) {
        size_t length = strcspn(folder, ":");
        snprintf(file, sizeof file, "%.*s/%s", (int)length, folder, name);
        if (access(file, X_OK) == 0) {
            return true;
        }
        folder += length + (folder[length] == ':');
    }
    return false;
}

bool path_has_header(const char *name) {
    const char *folders[] = {"/usr/include", "/usr/local/include"};
    char file[4096];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(file, sizeof file, "%s/%s", folders[i], name);
        if (access(file, R_OK) == 0) {
            return true;
        }
    }
    return false;
}
