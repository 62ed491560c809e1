/* SPDX-License-Identifier: MIT
 *
 * pirn/base.h: the words every other public header uses: time, errors, results and failures.
 *
 * Errors are `int` returns: 0, or a negative PIRN_E... code. Where the system has a name for the cause the code is the
 * negative errno, so a code from read(2) or connect(2) passes through as it is. pirn never hands an error over in
 * errno: that belongs to the thread, and other tasklets run on that thread between a park and its return.
 *
 * "The wait's codes" of a call that can park are these; unless it says otherwise, it has then done nothing:
 *   PIRN_EAGAIN     the deadline is PIRN_NOW, and it would have had to park;
 *   PIRN_ETIMEDOUT  the deadline passed first;
 *   PIRN_ECANCELED  the calling tasklet was cancelled, before or during the wait; or the code that pirn_throw gave it;
 *   PIRN_EDEADLK    in main only: no tasklet can ever run again (the report is on stderr);
 *   PIRN_ETHREAD    no tasklet runs here that could wait, and it is not PIRN_NOW (a line is on stderr).
 */
#ifndef PIRN_BASE_H
#define PIRN_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PIRN_VERSION_MAJOR 0
#define PIRN_VERSION_MINOR 1
#define PIRN_VERSION_PATCH 0

#if defined(__GNUC__)
#define PIRN_API                           __attribute__((visibility("default")))
#define PIRN_PRINTF(format_arg, first_arg) __attribute__((format(printf, format_arg, first_arg)))
#define PIRN_NODISCARD                     __attribute__((warn_unused_result))
#else
#define PIRN_API
#define PIRN_PRINTF(format_arg, first_arg)
#define PIRN_NODISCARD
#endif

/* Absolute CLOCK_MONOTONIC time in nanoseconds. As a deadline it is the last parameter of every call that can park (but
 * a few, whose waits have another bound: docs/design.md lists them). */
typedef int64_t pirn_time;

#define PIRN_NOW     ((pirn_time)0)         /* never parks: PIRN_EAGAIN when it would have to       */
#define PIRN_FOREVER ((pirn_time)INT64_MAX) /* no limit                                             */

#define PIRN_MICROSECOND ((pirn_time)1000)
#define PIRN_MILLISECOND ((pirn_time)1000000)
#define PIRN_SECOND      ((pirn_time)1000000000)

enum pirn_error {
    PIRN_OK = 0,
    PIRN_EAGAIN = -EAGAIN,       /* would have to park, and the deadline is PIRN_NOW                */
    PIRN_ETIMEDOUT = -ETIMEDOUT, /* the deadline passed first                                       */
    PIRN_ECANCELED = -ECANCELED, /* the calling tasklet, or the deferred, was cancelled             */
    PIRN_ENOMEM = -ENOMEM,       /* no memory                                                       */
    PIRN_EINVAL = -EINVAL,       /* an argument is out of its range; nothing was done               */
    PIRN_EBUSY = -EBUSY,         /* somebody already waits there (one reader and one writer)        */
    PIRN_EALREADY = -EALREADY,   /* it was done before: a deferred fires once                       */
    PIRN_EDEADLK = -EDEADLK,     /* nothing can ever wake this wait                                 */
    PIRN_EBADF = -EBADF,         /* the handle names no open socket                                 */
    PIRN_ECLOSED = -20001,       /* the channel, processor, pool or socket was closed               */
    PIRN_EDEAD = -20002,         /* the handle names a tasklet that has ended                       */
    PIRN_ETHREAD = -20003,       /* wrong thread or context; most calls name the right one on stderr */
    PIRN_ELIMIT = -20004,        /* a named bound was reached; the failure's message says which     */
    PIRN_EDB = -20005,           /* the database refused; the failure's message is the database's   */
    PIRN_EHTTP = -20006,         /* the HTTP exchange failed; the failure's message says how        */
    PIRN_EDNS = -20007,          /* the name could not be resolved                                  */
    PIRN_EFAILED = -20008,       /* failed without a better code                                    */
};

/* The code's name, "PIRN_ECLOSED" or "ECONNRESET". Parks: no. Thread: any. Owns: the text is static. Returns: "?" for a
 * number that is no code. */
PIRN_API const char *pirn_error_name(int code);

/* A few readable words for the code. Parks: no. Thread: any. Owns: the text is static. Returns: "unknown error" for a
 * number that is no code. */
PIRN_API const char *pirn_strerror(int code);

/* Now, on the clock that all deadlines use. Parks: no. Thread: any. */
PIRN_API pirn_time pirn_now(void);

/* The deadline `nanoseconds` from now. Parks: no. Thread: any. Args: a negative number counts as 0. Returns:
 * PIRN_FOREVER when the sum is beyond it. */
PIRN_API pirn_time pirn_after(int64_t nanoseconds);

/* Frees or gives up one value; runs exactly once for each value that nobody took, on whichever thread gives it up.
 * Parks: it must not. */
typedef void (*pirn_drop_fn)(void *value);

/* A failure: an error travelling as a value. It remembers where it was made and what caused it.
 * Owned by one holder at a time and moved, never shared; immutable once made.
 * Answers to twisted.python.failure.Failure. */
typedef struct pirn_failure pirn_failure;

/* Make a failure here. Parks: no. Thread: any. Args: `code` is negative (checked: another aborts); the message is
 * formatted, its bytes that could steer a terminal are written as \xHH, and it is cut at 200 bytes, not inside a UTF-8
 * character. Owns: the result is the caller's; `file` and
 * `function` are kept as they are: literals. Returns: NULL only when there is no memory. Answers to Failure(). */
#define pirn_failure_make(code, ...) pirn_failure_make_at(__FILE__, __LINE__, __func__, (code), __VA_ARGS__)
PIRN_API pirn_failure *pirn_failure_make_at(const char *file, int line, const char *function, int code,
                                            const char *format, ...) PIRN_PRINTF(5, 6);

/* Give `failure` the reason `cause`, behind the causes it has. Parks: no. Thread: any. Args: both may be NULL. Owns:
 * `cause` is the failure's from now on; of a NULL failure, or without memory, it is dropped. */
PIRN_API void pirn_failure_because(pirn_failure *failure, pirn_failure *cause);

/* A copy, with the same causes. Parks: no. Thread: any. Owns: the copy is the caller's. Returns: NULL when there is
 * no memory, or `failure` is NULL. */
PIRN_API pirn_failure *pirn_failure_clone(const pirn_failure *failure);

/* Free a failure and its causes. Parks: no. Thread: any. Args: NULL is allowed. */
PIRN_API void pirn_failure_drop(pirn_failure *failure);

/* Its parts. Parks: no. Thread: any. Owns: what they point to is the failure's. Returns: of NULL, code and line 0,
 * texts "", cause NULL; a failure without a cause gives NULL, too. */
PIRN_API int pirn_failure_code(const pirn_failure *failure);
PIRN_API const char *pirn_failure_message(const pirn_failure *failure);
PIRN_API const char *pirn_failure_file(const pirn_failure *failure);
PIRN_API int pirn_failure_line(const pirn_failure *failure);
PIRN_API const char *pirn_failure_function(const pirn_failure *failure);
PIRN_API const pirn_failure *pirn_failure_cause(const pirn_failure *failure);

/* "PIRN_EDB: no such table: test (made at sql_sqlite.c:88 in step); caused by ..." into `text`, terminated. Parks: no.
 * Thread: any. Args: `text` has `text_bytes` bytes; 0 only measures; a NULL failure gives "". Returns: the length it
 * wanted, as snprintf does. */
PIRN_API size_t pirn_failure_format(const pirn_failure *failure, char *text, size_t text_bytes);

/* What an asynchronous call came to. Status 0: `value` is the result and `drop`, when set, destroys it. Status
 * negative: `failure` may say more (NULL allowed). A zeroed struct is a successful nothing. */
typedef struct pirn_result {
    int status;
    void *value;
    pirn_drop_fn drop;
    pirn_failure *failure;
} pirn_result;

/* Destroy what the result owns and zero it. Parks: no. Thread: any that the value's `drop` may run on. */
PIRN_API void pirn_result_drop(pirn_result *result);

/* Make `*result` a failed one made here: `return pirn_result_fail(out, PIRN_EDB, "no row %d", i);` Parks: no. Thread:
 * as pirn_result_drop. Args: as pirn_failure_make. Owns: what `*result` held is destroyed, the message may be made of
 * it. Returns: `code`; without memory the result has that code and no failure. */
#define pirn_result_fail(result, code, ...)                                                                            \
    pirn_result_fail_at((result), __FILE__, __LINE__, __func__, (code), __VA_ARGS__)
PIRN_API int pirn_result_fail_at(pirn_result *result, const char *file, int line, const char *function, int code,
                                 const char *format, ...) PIRN_PRINTF(6, 7);

#ifdef __cplusplus
}
#endif
#endif
