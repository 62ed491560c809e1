/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/thread.c: name, role and signal mask of a thread that pirn starts.
 */
#include "test.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "thread.h"

typedef struct seen {
    char name[16];
    pn_role role;
    const char *role_text;
    sigset_t mask;
} seen;

static void *look(void *arg) {
    seen *own = arg;
    pthread_getname_np(pthread_self(), own->name, sizeof own->name);
    own->role = pn_thread_role();
    own->role_text = pn_thread_role_text();
    pthread_sigmask(SIG_SETMASK, NULL, &own->mask);
    return own;
}

static seen look_from(pn_role role, const char *name) {
    seen own = {.role = PN_FOREIGN};
    pthread_t thread;
    void *back = NULL;
    cr_assert_eq(pn_thread_start(&thread, role, name, look, &own), 0);
    cr_assert_eq(pthread_join(thread, &back), 0);
    cr_assert_eq(back, (void *)&own);
    return own;
}

/* Goal: a thread carries its name as far as the kernel allows, and knows what it is.
 * Method: one of each role, with a short and a long name. */
Test(thread, start_gives_name_and_role) {
    seen offload = look_from(PN_OFFLOAD, "offload-0");
    cr_assert_str_eq(offload.name, "offload-0");
    cr_assert_eq(offload.role, PN_OFFLOAD);
    cr_assert_str_eq(offload.role_text, "an offload thread");
    seen reactor = look_from(PN_REACTOR, "a-name-longer-than-that");
    cr_assert_str_eq(reactor.name, "a-name-longer-t");
    cr_assert_str_eq(reactor.role_text, "the reactor thread");
    cr_assert_eq(pn_thread_role(), PN_FOREIGN, "the starter stays what it was");
}

/* Goal: the application's signals never run a handler on a thread of pirn's, faults always do, and the watchdog can ask
 *       those that it watches.
 * Method: the mask as the thread itself sees it; the starter's own is as before. */
Test(thread, only_faults_and_the_watchdog_are_let_in) {
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    seen worker = look_from(PN_WORKER, "worker");
    seen offload = look_from(PN_OFFLOAD, "offload");
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    const int blocked[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1, SIGALRM};
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++) {
        cr_assert_eq(sigismember(&worker.mask, blocked[i]), 1, "signal %d", blocked[i]);
        cr_assert_eq(sigismember(&offload.mask, blocked[i]), 1, "signal %d", blocked[i]);
        cr_assert_eq(sigismember(&after, blocked[i]), sigismember(&before, blocked[i]), "signal %d", blocked[i]);
    }
    cr_assert_eq(sigismember(&worker.mask, SIGSEGV), 0);
    cr_assert_eq(sigismember(&worker.mask, SIGBUS), 0);
    cr_assert_eq(sigismember(&worker.mask, PN_WATCHDOG_SIGNAL), 0);
    cr_assert_eq(sigismember(&offload.mask, PN_WATCHDOG_SIGNAL), 1);
}

/* Goal: a role can be taken on by a thread that pirn did not start (worker 0 of single mode).
 * Method: set it and set it back. */
Test(thread, role_can_be_set) {
    cr_assert_str_eq(pn_thread_role_text(), "a foreign thread");
    pn_thread_set_role(PN_WORKER);
    cr_assert_eq(pn_thread_role(), PN_WORKER);
    cr_assert_str_eq(pn_thread_role_text(), "a callback");
    pn_thread_set_role(PN_FOREIGN);
}

/* Goal: a thread that the system refuses is a limit, with a line that names it, and not "try again".
 * Method: a child of a user who may have no thread more. */
Test(thread, refused_thread_is_a_limit_with_a_cure) {
    enum { NOBODY = 65534, AS_IT_SHOULD = 42, CANNOT_TELL = 43 };
    int said[2];
    cr_assert_eq(pipe(said), 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        (void)dup2(said[1], STDERR_FILENO);
        if (setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 1}) != 0 || (geteuid() == 0 && setuid(NOBODY) != 0)) {
            _exit(CANNOT_TELL);
        }
        int code = pn_thread_start(&thread, PN_OFFLOAD, "one-more", look, &(seen){.role = PN_FOREIGN});
        _exit(code == PIRN_ELIMIT ? AS_IT_SHOULD : code == 0 ? CANNOT_TELL : 1);
    }
    char text[1000] = "";
    int status;
    close(said[1]);
    ssize_t length = read(said[0], text, sizeof text - 1);
    close(said[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status), "status %d: %s", status, text);
    if (WEXITSTATUS(status) == CANNOT_TELL) {
        return; /* a namespace without that user */
    }
    cr_assert_eq(WEXITSTATUS(status), AS_IT_SHOULD, "status %d: %s", status, text);
    cr_assert_gt(length, 0);
    cr_assert_not_null(strstr(text, "no thread for \"one-more\""), "%s", text);
    cr_assert_not_null(strstr(text, "pids.max"), "%s", text);
}
