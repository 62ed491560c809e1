/* SPDX-License-Identifier: MIT
 *
 * What: the functions that stand in the place of libc's in these programs (the linker's --wrap: see CMakeLists.txt).
 * Threads: any.
 */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

static atomic_uint armed; /* enum fault_kinds */
static atomic_long first_failing, last_failing, asked_count, failed_count, balance;

void fault_arm(unsigned kinds, long first, long count) {
    atomic_store(&asked_count, 0);
    atomic_store(&failed_count, 0);
    atomic_store(&first_failing, first);
    atomic_store(&last_failing, first + count - 1);
    atomic_store(&armed, kinds);
}

void fault_disarm(long *asked, long *failed) {
    atomic_store(&armed, 0);
    *asked = atomic_load(&asked_count);
    *failed = atomic_load(&failed_count);
}

long fault_balance(void) {
    return atomic_load(&balance);
}

/* Whether the call that asks is to fail. */
static bool hits(unsigned kind, int code) {
    if (!(atomic_load(&armed) & kind)) {
        return false;
    }
    long number = atomic_fetch_add(&asked_count, 1) + 1;
    if (number < atomic_load(&first_failing) || number > atomic_load(&last_failing)) {
        return false;
    }
    atomic_fetch_add(&failed_count, 1);
    errno = code;
    return true;
}

static void *counted(void *memory) {
    if (memory) {
        atomic_fetch_add(&balance, 1);
    }
    return memory;
}

/* ---- memory ---- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_reallocarray(void *memory, size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t bytes_max);
void __real_free(void *memory);

void *__wrap_malloc(size_t bytes) {
    return hits(FAULT_MEMORY, ENOMEM) ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes) {
    return hits(FAULT_MEMORY, ENOMEM) ? NULL : counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes) {
    if (hits(FAULT_MEMORY, ENOMEM)) {
        return NULL;
    }
    return memory ? __real_realloc(memory, bytes) : counted(__real_malloc(bytes));
}

void *__wrap_reallocarray(void *memory, size_t count, size_t bytes) {
    if (hits(FAULT_MEMORY, ENOMEM)) {
        return NULL;
    }
    void *moved = __real_reallocarray(memory, count, bytes);
    return memory ? moved : counted(moved);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return hits(FAULT_MEMORY, ENOMEM) ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}

char *__wrap_strdup(const char *text) {
    return hits(FAULT_MEMORY, ENOMEM) ? NULL : counted(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t bytes_max) {
    return hits(FAULT_MEMORY, ENOMEM) ? NULL : counted(__real_strndup(text, bytes_max));
}

void __wrap_free(void *memory) {
    if (memory) {
        atomic_fetch_sub(&balance, 1);
    }
    __real_free(memory);
}

/* ---- descriptors, threads, address space ---- */

int __real_eventfd(unsigned value, int flags);
int __real_epoll_create1(int flags);
int __real_epoll_ctl(int set, int operation, int fd, struct epoll_event *event);
int __real_pipe2(int ends[2], int flags);
int __real_socket(int domain, int type, int protocol);
int __real_accept4(int fd, struct sockaddr *peer, socklen_t *bytes, int flags);
int __real_open(const char *path, int flags, mode_t mode);
void *__real_mmap(void *at, size_t bytes, int access, int flags, int fd, off_t offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);

int __wrap_eventfd(unsigned value, int flags) {
    return hits(FAULT_SYSTEM, EMFILE) ? -1 : __real_eventfd(value, flags);
}

int __wrap_epoll_create1(int flags) {
    return hits(FAULT_SYSTEM, EMFILE) ? -1 : __real_epoll_create1(flags);
}

/* fs.epoll.max_user_watches */
int __wrap_epoll_ctl(int set, int operation, int fd, struct epoll_event *event) {
    return operation == EPOLL_CTL_ADD && hits(FAULT_SYSTEM, ENOSPC) ? -1 : __real_epoll_ctl(set, operation, fd, event);
}

int __wrap_pipe2(int ends[2], int flags) {
    return hits(FAULT_SYSTEM, EMFILE) ? -1 : __real_pipe2(ends, flags);
}

int __wrap_socket(int domain, int type, int protocol) {
    return hits(FAULT_SYSTEM, EMFILE) ? -1 : __real_socket(domain, type, protocol);
}

int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *bytes, int flags) {
    return hits(FAULT_SYSTEM, EMFILE) ? -1 : __real_accept4(fd, peer, bytes, flags);
}

int __wrap_open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    return hits(FAULT_SYSTEM, EMFILE) ? -1 : __real_open(path, flags, mode);
}

void *__wrap_mmap(void *at, size_t bytes, int access, int flags, int fd, off_t offset) {
    return hits(FAULT_SYSTEM, ENOMEM) ? MAP_FAILED : __real_mmap(at, bytes, access, flags, fd, offset);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg) {
    return hits(FAULT_SYSTEM, EAGAIN) ? EAGAIN : __real_pthread_create(thread, attributes, run, arg);
}

pthread_t fault_thread(void *(*run)(void *arg), void *arg) {
    pthread_t thread;
    if (__real_pthread_create(&thread, NULL, run, arg) != 0) {
        fprintf(stderr, "no thread for the test itself\n");
        abort();
    }
    return thread;
}
