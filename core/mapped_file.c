/* SPDX-License-Identifier: MIT
 *
 * What: see core/mapped_file.h. Reads /proc/self/maps, a line of which is
 *       "7f00-7f10 rw-s 00000000 08:01 1234   /var/lib/site.db-shm".
 * Threads: any; async-signal-safe: open, read and close only, on 1.2 KiB of stack.
 */
#include "mapped_file.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#define FIELDS_BEFORE_PATH 5

typedef struct reader {
    int fd;
    size_t at, filled;
    char bytes[1024];
} reader;

/* The next byte; -1 at the end. */
static int next(reader *in) {
    if (in->at == in->filled) {
        ssize_t count = read(in->fd, in->bytes, sizeof in->bytes);
        in->at = 0;
        in->filled = count > 0 ? (size_t)count : 0;
    }
    return in->at < in->filled ? (unsigned char)in->bytes[in->at++] : -1;
}

/* A hexadecimal number and the byte behind it. */
static uintptr_t next_number(reader *in, int *behind) {
    uintptr_t number = 0;
    for (;;) {
        int byte = *behind = next(in);
        if (byte >= '0' && byte <= '9') {
            number = number * 16 + (uintptr_t)(byte - '0');
        } else if (byte >= 'a' && byte <= 'f') {
            number = number * 16 + (uintptr_t)(byte - 'a' + 10);
        } else {
            return number;
        }
    }
}

/* The rest of a line, from its second field on: the last one into `path`. */
static void next_path(reader *in, char *path, size_t path_bytes) {
    size_t length = 0;
    int fields = 1, before = ' ';
    for (int byte = next(in); byte >= 0 && byte != '\n'; byte = next(in)) {
        bool in_path = fields == FIELDS_BEFORE_PATH && (length > 0 || byte != ' ');
        if (in_path && length + 1 < path_bytes) {
            path[length++] = (char)byte;
        }
        fields += !in_path && byte == ' ' && before != ' ' && fields < FIELDS_BEFORE_PATH;
        before = byte;
    }
    path[length] = '\0';
}

bool pn_mapped_file(const void *address, char *path, size_t path_bytes) {
    reader in = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    bool found = false;
    int behind = in.fd < 0 ? -1 : 0;
    while (!found && behind >= 0) {
        uintptr_t first = next_number(&in, &behind);
        uintptr_t end = behind == '-' ? next_number(&in, &behind) : 0;
        if (behind < 0) {
            break;
        }
        next_path(&in, path, path_bytes);
        found = (uintptr_t)address >= first && (uintptr_t)address < end;
    }
    found = found && path[0] == '/'; /* else memory without a file */
    if (in.fd >= 0) {
        (void)close(in.fd);
    }
    return found;
}
