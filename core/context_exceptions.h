/* SPDX-License-Identifier: MIT
 *
 * What: finds the words in which a C++ runtime keeps a thread's exceptions, and tells a program that has none.
 * Threads: any.
 * How: __cxa_get_globals() is the C++ ABI's, of libstdc++ and libc++abi alike. A weak reference finds it where it is
 *       linked in, statically too; dlsym() where only a library of the program needs it; and the two libraries' names
 *       find it where a plug-in that was loaded privately brought it along.
 * Limit: asked once for each thread, when it starts as a worker: a plug-in that brings the first C++ runtime into a
 *       running pirn_run() comes too late.
 */
#ifndef PN_CONTEXT_EXCEPTIONS_H
#define PN_CONTEXT_EXCEPTIONS_H

#include <dlfcn.h>
#include <string.h>

#include "context.h"

typedef pn_exceptions *(*pn_exceptions_getter)(void);

extern pn_exceptions *__cxa_get_globals(void) __attribute__((weak));

/* Weak as well: a static program has neither, and needs neither. */
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlclose

static inline pn_exceptions_getter pn_exceptions_look_up(void *library) {
    void *found = dlsym(library, "__cxa_get_globals");
    pn_exceptions_getter getter;
    memcpy(&getter, &found, sizeof getter); /* ISO C has no cast between the two kinds of pointers */
    return getter;
}

static inline pn_exceptions_getter pn_exceptions_find_getter(void) {
    static const char *const libraries[] = {"libstdc++.so.6", "libc++abi.so.1"};
    if (__cxa_get_globals) {
        return __cxa_get_globals;
    }
    pn_exceptions_getter getter = dlsym ? pn_exceptions_look_up(RTLD_DEFAULT) : NULL;
    for (size_t i = 0; !getter && dlsym && dlopen && i < sizeof libraries / sizeof libraries[0]; i++) {
        /* Only if it is loaded; and it stays, because its words are used until the thread ends. */
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
        if (library) {
            getter = pn_exceptions_look_up(library);
            (void)dlclose(library);
        }
    }
    return getter;
}

/* The calling thread's, NULL in a program without a C++ runtime. */
static inline pn_exceptions *pn_exceptions_of_thread(void) {
    pn_exceptions_getter getter = pn_exceptions_find_getter();
    return getter ? getter() : NULL;
}

#endif
