/* SPDX-License-Identifier: MIT
 *
 * What: what a tasklet without a name is called.
 * Threads: any; the cache of symbols is the calling thread's own.
 * Rejected: the symbol alone: the linker keeps none for a static function.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "tasklet.h"

#define SYMBOLS_CACHED 64u

/* dladdr() walks a library's symbols: thousands of tasklets of one function ask once. */
typedef struct symbol {
    pirn_fn fn;
    const char *name; /* NULL: none */
} symbol;

static const char *symbol_of(pirn_fn fn) {
    static _Thread_local symbol cache[SYMBOLS_CACHED];
    symbol *entry = &cache[((uintptr_t)fn >> 4) % SYMBOLS_CACHED];
    if (entry->fn != fn) {
        Dl_info place;
        void *address = (void *)(uintptr_t)fn;
        bool known = dladdr(address, &place) && place.dli_sname && place.dli_saddr == address;
        *entry = (symbol){.fn = fn, .name = known ? place.dli_sname : NULL};
    }
    return entry->name;
}

const char *pn_tasklet_function(const pn_tasklet *tasklet) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";
    const char *text = tasklet->function;
    return text && text[0] && text[strspn(text, letters)] == '\0' ? text : NULL;
}

const char *pn_tasklet_name(const pn_tasklet *tasklet, char *text, size_t text_bytes) {
    const char *name = tasklet->name[0] ? tasklet->name : symbol_of(tasklet->fn);
    name = name ? name : pn_tasklet_function(tasklet);
    if (name) {
        snprintf(text, text_bytes, "%s", name);
    } else {
        snprintf(text, text_bytes, "fn at %s:%u", pn_base_name(tasklet->file), tasklet->line);
    }
    return text;
}
