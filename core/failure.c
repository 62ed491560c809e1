/* SPDX-License-Identifier: MIT
 *
 * What: errors as values: the names and sentences of codes, failures with their chain of causes, results.
 * Threads: any. A failure has one owner at a time; the causes of clones are shared, counted and not changed while they
 *       are shared.
 * Invariants: (1) code < 0; (2) the message is at most FAILURE_MESSAGE_MAX bytes and is not cut inside a UTF-8
 *       character; (3) a chain of causes has no ring, so every walk over it is a loop that ends; (4) what the user has
 *       is a head, held once; (5) while the first cause is held once, the causes up to `own_end` are this head's alone.
 * Cost: cloning copies the head only, and a cause is added at the end of a chain without walking over it again, so
 *       lists in lists and retry loops pay for each failure once.
 * Rejected: heads that are shared (who may then change or report them?); strerror(3) (its text is not static, and
 *       locales change it); recursion over causes (a retry loop can make the chain as long as it likes).
 */
#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "hooks.h"
#include "sched.h"
#include "text.h"

#define FAILURE_MESSAGE_MAX 200

struct pirn_failure {
    int code, line;
    const char *file, *function; /* string literals of the caller                                        */
    pirn_failure *cause;         /* held                                                                 */
    pirn_failure *own_end;       /* of a head: a cause up to which the chain is its alone; NULL: none    */
    pn_word holds;               /* a head has one; a cause may be that of several clones                */
    char message[];
};

/* ---- codes ---- */

typedef struct code_text {
    int code;
    const char *name, *sentence;
} code_text;

static const code_text code_texts[] = {
    {PIRN_OK, "PIRN_OK", "success"},
    {PIRN_EAGAIN, "PIRN_EAGAIN", "the call would have to wait"},
    {PIRN_ETIMEDOUT, "PIRN_ETIMEDOUT", "the deadline passed first"},
    {PIRN_ECANCELED, "PIRN_ECANCELED", "it was cancelled"},
    {PIRN_ENOMEM, "PIRN_ENOMEM", "there is no memory"},
    {PIRN_EINVAL, "PIRN_EINVAL", "an argument is out of its range"},
    {PIRN_EBUSY, "PIRN_EBUSY", "somebody else uses it"},
    {PIRN_EALREADY, "PIRN_EALREADY", "it was done before"},
    {PIRN_EDEADLK, "PIRN_EDEADLK", "nothing can ever end this wait"},
    {PIRN_EBADF, "PIRN_EBADF", "the handle names no open socket"},
    {PIRN_ECLOSED, "PIRN_ECLOSED", "it was closed"},
    {PIRN_EDEAD, "PIRN_EDEAD", "the tasklet has ended"},
    {PIRN_ETHREAD, "PIRN_ETHREAD", "the call is not for this thread or context"},
    {PIRN_ELIMIT, "PIRN_ELIMIT", "a bound was reached"},
    {PIRN_EDB, "PIRN_EDB", "the database refused"},
    {PIRN_EHTTP, "PIRN_EHTTP", "the HTTP exchange failed"},
    {PIRN_EDNS, "PIRN_EDNS", "the name could not be resolved"},
    {PIRN_EFAILED, "PIRN_EFAILED", "it failed"},
};

static const code_text *find_code(int code) {
    for (size_t i = 0; i < sizeof code_texts / sizeof code_texts[0]; i++) {
        if (code_texts[i].code == code) {
            return &code_texts[i];
        }
    }
    return NULL;
}

/* The errno a code of the system stands for; -1, which no errno is, for a positive code or one beyond negation. */
static int errno_of(int code) {
    return code < 0 && code >= -INT16_MAX ? -code : -1;
}

const char *pirn_error_name(int code) {
    const code_text *known = find_code(code);
    if (known) {
        return known->name;
    }
    const char *name = strerrorname_np(errno_of(code));
    return name ? name : "?";
}

const char *pirn_strerror(int code) {
    const code_text *known = find_code(code);
    if (known) {
        return known->sentence;
    }
    const char *sentence = strerrordesc_np(errno_of(code));
    return sentence ? sentence : "unknown error";
}

/* ---- failures ---- */

const char *pn_base_name(const char *path) {
    if (!path) {
        return "?";
    }
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The longest start of `text`, at most `length_max` bytes, that does not end inside a UTF-8 character. */
static size_t whole_characters(const char *text, size_t length, size_t length_max) {
    if (length <= length_max) {
        return length;
    }
    size_t end = length_max;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) {
        end--;
    }
    return end;
}

static pirn_failure *make(int code, const char *file, int line, const char *function, const char *message) {
    size_t length = whole_characters(message, strlen(message), FAILURE_MESSAGE_MAX);
    pirn_failure *failure = pn_malloc(sizeof *failure + length + 1);
    if (!failure) {
        return NULL;
    }
    *failure = (pirn_failure){.code = code, .line = line, .file = file, .function = function, .holds = {1}};
    memcpy(failure->message, message, length);
    failure->message[length] = '\0';
    return failure;
}

static pirn_failure *make_formatted(const char *file, int line, const char *function, int code, const char *format,
                                    va_list arguments) {
    PN_ASSERT(code < 0);
    char raw[FAILURE_MESSAGE_MAX + 2]; /* one byte more than is kept, to see whether a character was cut */
    raw[0] = '\0';
    (void)vsnprintf(raw, sizeof raw, format, arguments);
    raw[whole_characters(raw, strlen(raw), FAILURE_MESSAGE_MAX)] = '\0';
    char message[FAILURE_MESSAGE_MAX + 2];
    (void)pn_text_clean(raw, message, sizeof message);
    return make(code, file, line, function, message);
}

pirn_failure *pirn_failure_make_at(const char *file, int line, const char *function, int code, const char *format,
                                   ...) {
    va_list arguments;
    va_start(arguments, format);
    pirn_failure *failure = make_formatted(file, line, function, code, format, arguments);
    va_end(arguments);
    return failure;
}

/* Before the first runtime of the process there is one thread's use only. */
static uint32_t add_hold(pirn_failure *failure, uint32_t delta) {
    return pn_below ? pn_below->add(&failure->holds, delta) : (failure->holds.opaque += delta);
}

static bool is_shared(const pirn_failure *failure) {
    return (pn_below ? pn_below->load(&failure->holds) : failure->holds.opaque) > 1;
}

/* A copy of one, with the same causes. */
static pirn_failure *copy_head(const pirn_failure *failure) {
    pirn_failure *copy = make(failure->code, failure->file, failure->line, failure->function, failure->message);
    if (copy && failure->cause) {
        copy->cause = failure->cause;
        (void)add_hold(copy->cause, 1);
    }
    return copy;
}

/* Give `failure` causes of its own in the place of those that it shares. False: no memory. */
static bool copy_causes(pirn_failure *failure) {
    pirn_failure *shared = failure->cause, *copies = NULL;
    pirn_failure **end = &copies;
    for (const pirn_failure *each = shared; each; each = each->cause) {
        *end = make(each->code, each->file, each->line, each->function, each->message);
        if (!*end) {
            pirn_failure_drop(copies);
            return false;
        }
        end = &(*end)->cause;
    }
    failure->cause = copies;
    pirn_failure_drop(shared);
    return true;
}

/* The last of the chain of `failure`, which is its alone from then on. NULL: no memory. */
static pirn_failure *own_chain(pirn_failure *failure) {
    pirn_failure *end = failure->own_end && !is_shared(failure->cause) ? failure->own_end : failure;
    while (end->cause) {
        if (is_shared(end->cause) && !copy_causes(end)) {
            return NULL;
        }
        end = end->cause;
    }
    return end;
}

void pirn_failure_because(pirn_failure *failure, pirn_failure *cause) {
    PN_ASSERT(!failure || cause != failure);
    if (failure && !cause) {
        return;
    }
    pirn_failure *end = failure ? own_chain(failure) : NULL;
    if (!end) { /* no memory for the failure or its chain: then the cause has no owner left */
        pirn_failure_drop(cause);
        return;
    }
    end->cause = cause;
    failure->own_end = cause;
}

pirn_failure *pirn_failure_clone(const pirn_failure *failure) {
    return failure ? copy_head(failure) : NULL;
}

void pirn_failure_drop(pirn_failure *failure) {
    while (failure && add_hold(failure, (uint32_t)-1) == 0) {
        pirn_failure *cause = failure->cause;
        pn_free(failure);
        failure = cause;
    }
}

int pirn_failure_code(const pirn_failure *failure) {
    return failure ? failure->code : 0;
}

const char *pirn_failure_message(const pirn_failure *failure) {
    return failure ? failure->message : "";
}

const char *pirn_failure_file(const pirn_failure *failure) {
    return failure ? failure->file : "";
}

int pirn_failure_line(const pirn_failure *failure) {
    return failure ? failure->line : 0;
}

const char *pirn_failure_function(const pirn_failure *failure) {
    return failure ? failure->function : "";
}

const pirn_failure *pirn_failure_cause(const pirn_failure *failure) {
    return failure ? failure->cause : NULL;
}

/* snprintf at `text + length`, wherever that is, however little room is left; returns the new wanted length. */
__attribute__((format(printf, 4, 5))) static size_t append(char *text, size_t text_bytes, size_t length,
                                                           const char *format, ...) {
    bool room = length < text_bytes;
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(room ? text + length : NULL, room ? text_bytes - length : 0, format, arguments);
    va_end(arguments);
    return more > 0 ? length + (size_t)more : length;
}

/* At most `length_max` bytes and the rest of the cause that goes beyond them. */
static size_t format_up_to(const pirn_failure *failure, char *text, size_t text_bytes, size_t length_max) {
    if (text_bytes > 0) {
        text[0] = '\0';
    }
    size_t length = 0;
    for (const pirn_failure *each = failure; each && length < length_max; each = each->cause) {
        length =
            append(text, text_bytes, length, "%s%s: %s (made at %s:%d in %s)", each == failure ? "" : "; caused by ",
                   pirn_error_name(each->code), each->message[0] ? each->message : pirn_strerror(each->code),
                   pn_base_name(each->file), each->line, each->function ? each->function : "?");
    }
    return length;
}

size_t pirn_failure_format(const pirn_failure *failure, char *text, size_t text_bytes) {
    return format_up_to(failure, text, text_bytes, SIZE_MAX);
}

/* ---- results ---- */

void pn_value_drop(pirn_drop_fn drop, void *value) {
    if (drop) {
        bool outer = pn_callback_enter();
        drop(value);
        pn_callback_leave(outer);
    }
}

void pirn_result_drop(pirn_result *result) {
    pirn_result old = *result;
    *result = (pirn_result){0}; /* first: the destructor may look at what held the result */
    pn_value_drop(old.drop, old.value);
    pirn_failure_drop(old.failure);
}

int pirn_result_fail_at(pirn_result *result, const char *file, int line, const char *function, int code,
                        const char *format, ...) {
    /* The message first: its arguments may be text of the old value or failure. */
    va_list arguments;
    va_start(arguments, format);
    pirn_failure *failure = make_formatted(file, line, function, code, format, arguments);
    va_end(arguments);
    pirn_result_drop(result);
    result->status = code;
    result->failure = failure;
    return code;
}

void pn_result_fail_positive(pirn_result *result) {
    (void)pirn_result_fail(result, PIRN_EFAILED, "its status was %d: 0 or a negative code is wanted", result->status);
}

const char *pn_result_describe(const pirn_result *result, char *text, size_t text_bytes) {
    if (result->failure) {
        (void)format_up_to(result->failure, text, text_bytes, text_bytes); /* however long the chain is */
    } else {
        (void)snprintf(text, text_bytes, "%s: %s", pirn_error_name(result->status), pirn_strerror(result->status));
    }
    return text;
}
