/* SPDX-License-Identifier: MIT
 *
 * What: tests of core/mapped_file.c, and of the line that a cut file gives.
 */
#include "child.h"

#include <pthread.h>

#include "mapped_file.h"

static char *map_file(const char *path, size_t bytes) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(at, MAP_FAILED);
    close(fd);
    return at;
}

/* Goal: the file mapped at an address is named, and nothing else is.
 * Method: a file with white space in its name, at its first and last byte and beyond; the heap, a stack, nothing; a
 *         place of few bytes. */
Test(mapped_file, address_gives_the_name_of_its_file) {
    char name[] = "/tmp/pirn mapped-file-XXXXXX", path[256], few[6] = "#####";
    size_t bytes = 3 * (size_t)sysconf(_SC_PAGESIZE);
    close(mkstemp(name));
    char *at = map_file(name, bytes);
    cr_assert(pn_mapped_file(at, path, sizeof path));
    cr_assert_str_eq(path, name);
    cr_assert(pn_mapped_file(at + bytes - 1, path, sizeof path));
    cr_assert_str_eq(path, name);
    cr_assert(pn_mapped_file(at, few, 5));
    cr_assert_str_eq(few, "/tmp");
    cr_assert(!pn_mapped_file(at + bytes, path, sizeof path) || strcmp(path, name) != 0);
    cr_assert_not(pn_mapped_file(NULL, path, sizeof path));
    cr_assert_not(pn_mapped_file(path, path, sizeof path));
    munmap(at, bytes);
    cr_assert(!pn_mapped_file(at, path, sizeof path) || strcmp(path, name) != 0);
    unlink(name);
}

static char cut_name[64];

static bool nothing_runs(pn_overflow_subject *subject) {
    (void)subject;
    return false;
}

static void *touch(void *at) {
    *(volatile char *)at = 1;
    return NULL;
}

static void read_a_cut_file(void) {
    pthread_t thread;
    char *at = map_file(cut_name, 8192);
    pn_below = &pn_hooks_alone;
    cr_assert_eq(pn_stack_thread_init(nothing_runs), 0);
    cr_assert_eq(truncate(cut_name, 0), 0);
    cr_assert_eq(pthread_create(&thread, NULL, touch, at + 4096), 0);
    pthread_join(thread, NULL);
}

/* Goal: a mapped file that is cut kills, but not without a line that names it, on any thread.
 * Method: a child maps a file, cuts it and writes there, on a thread that pirn does not know. */
Test(mapped_file, cut_file_is_named) {
    strcpy(cut_name, "/tmp/pirn-cut-file-XXXXXX");
    close(mkstemp(cut_name));
    child_end end = run_child(read_a_cut_file);
    unlink(cut_name);
    expect_killed(&end, SIGBUS);
    expect_said(&end, "pirn: SIGBUS: the mapped file /tmp/pirn-cut-file-");
    expect_said(&end, "-shm");
    free(end.text);
}
