/* SPDX-License-Identifier: MIT
 *
 * What: a C program that loads a C++ plug-in privately, before pirn_run(): nothing but the plug-in needs the C++
 *       runtime.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <pirn.h>

int main(int count, char **arguments) {
    void *plugin = count > 1 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    void *found = plugin ? dlsym(plugin, "run_tests") : NULL;
    if (!found) {
        printf("not ok plugin - %s\n", plugin ? "no run_tests in it" : dlerror());
        return 1;
    }
    int (*run_tests)(const char *build);
    memcpy(&run_tests, &found, sizeof run_tests);
    return run_tests("plugin");
}
