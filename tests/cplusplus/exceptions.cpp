// SPDX-License-Identifier: MIT
//
// What: C++ programs on tasklets: exceptions that are caught, rethrown and counted while tasklets switch. Prints a
//       result line for each test; cplusplus_test.sh builds it against the archive, the shared library and as a plug-in.
// Threads: run_tests() on the main thread; the tests in tasklets, in every mode.
#include <cfenv>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include <pirn.h>
#include <pirn/http.h>
#include <pirn/inspect.h>
#include <pirn/offload.h>
#include <pirn/processor.h>
#include <pirn/reactor.h>
#include <pirn/runtime.h>
#include <pirn/socket.h>
#include <pirn/sql.h>

namespace {

int failures;

#define CHECK(condition)                                                                                               \
    ((condition) ? (void)0                                                                                             \
                 : (void)(__atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED),                                          \
                          fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition)))

pirn_tasklet spawn(pirn_fn fn, void *arg, unsigned flags = 0, int home = -1) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE | flags;
    options.home = home;
    pirn_tasklet tasklet = pirn_spawn_with(&options, fn, arg);
    CHECK(tasklet.id != 0);
    return tasklet;
}

int join(pirn_tasklet tasklet) {
    int result = 1;
    CHECK(pirn_join(tasklet, &result, PIRN_FOREVER) == 0);
    return result;
}

/* ---- ways to give up the processor ---- */

int nothing(void *) {
    return 0;
}

int give_nothing(void *, pirn_result *) {
    pirn_yield();
    return 0;
}

void park(unsigned way) {
    switch (way % 5) {
    case 0:
        pirn_yield();
        break;
    case 1:
        CHECK(pirn_sleep_until(pirn_after(50 * PIRN_MICROSECOND)) == 0);
        break;
    case 2:
        CHECK(join(spawn(nothing, nullptr)) == 0);
        break;
    case 3:
        CHECK(pirn_blocking_tasklet(give_nothing, nullptr, nullptr, PIRN_FOREVER) == 0);
        break;
    default: {
        pirn_deferred *later = pirn_call_later(0);
        CHECK(pirn_await(later, nullptr, PIRN_FOREVER) == 0);
        pirn_deferred_release(later);
    }
    }
}

/* ---- several that wait inside `catch` ---- */

struct numbered {
    unsigned number, rounds;
};

std::string name_of(unsigned number, unsigned depth) {
    return "exception " + std::to_string(number) + " at depth " + std::to_string(depth);
}

void nest(unsigned number, unsigned depth, unsigned way) {
    try {
        throw std::runtime_error(name_of(number, depth));
    } catch (const std::exception &caught) {
        park(way);
        CHECK(caught.what() == name_of(number, depth));
        if (depth > 0) {
            nest(number, depth - 1, way + 1);
        }
        park(way + 2);
        try {
            throw; // the innermost that is being handled: its own
        } catch (const std::exception &again) {
            park(way + 3);
            CHECK(again.what() == name_of(number, depth));
        }
        std::exception_ptr current = std::current_exception();
        try {
            std::rethrow_exception(current);
        } catch (const std::runtime_error &again) {
            CHECK(again.what() == name_of(number, depth));
        }
    }
}

int wait_in_catch(void *arg) {
    const numbered *one = static_cast<numbered *>(arg);
    for (unsigned i = 0; i < one->rounds; i++) {
        nest(one->number, i % 4, one->number + i);
        CHECK(std::current_exception() == nullptr);
    }
    return 0;
}

void run_crowd(unsigned flags, bool everywhere) {
    constexpr unsigned count = 16;
    numbered each[count];
    pirn_tasklet tasklets[count];
    for (unsigned i = 0; i < count; i++) {
        each[i] = {i, 40};
        tasklets[i] = spawn(wait_in_catch, &each[i], i % 2 ? flags : 0, everywhere ? int(i % 2) : -1);
    }
    for (const pirn_tasklet &tasklet : tasklets) {
        CHECK(join(tasklet) == 0);
    }
}

int crowd_at_home(void *) {
    run_crowd(0, false);
    return 0;
}

int crowd_with_float_env(void *) {
    run_crowd(PIRN_FLOAT_ENV, false);
    return 0;
}

int crowd_on_two_workers(void *arg) {
    if (*static_cast<unsigned *>(arg) < 2) {
        return 0;
    }
    run_crowd(PIRN_ANYWHERE, false);
    run_crowd(0, true);
    return 0;
}

/* ---- uncaught_exceptions() ---- */

#if __cplusplus >= 201703L
int uncaught() {
    return std::uncaught_exceptions();
}
#else
int uncaught() {
    return std::uncaught_exception();
}
#endif

struct parks_in_destructor {
    unsigned way;
    int wanted;
    ~parks_in_destructor() {
        CHECK(uncaught() == wanted);
        park(way);
        CHECK(uncaught() == wanted);
    }
};

int count_uncaught(void *arg) {
    const numbered *one = static_cast<numbered *>(arg);
    for (unsigned i = 0; i < one->rounds; i++) {
        try {
            parks_in_destructor third{i, 1}, second{i + 1, 1}, first{one->number, 1};
            throw one->number;
        } catch (unsigned number) {
            CHECK(number == one->number && uncaught() == 0);
        }
        parks_in_destructor calm{i, 0};
    }
    return 0;
}

int parking_destructors(void *) {
    numbered each[8];
    pirn_tasklet tasklets[8];
    for (unsigned i = 0; i < 8; i++) {
        each[i] = {i, 30};
        tasklets[i] = spawn(i % 2 ? count_uncaught : wait_in_catch, &each[i]);
    }
    for (const pirn_tasklet &tasklet : tasklets) {
        CHECK(join(tasklet) == 0);
    }
    CHECK(uncaught() == 0 && std::current_exception() == nullptr);
    return 0;
}

/* ---- through deep frames with many switches ---- */

unsigned unwound;

struct counts_itself {
    ~counts_itself() {
        pirn_yield();
        unwound++;
    }
};

int descend(unsigned depth) {
    counts_itself here;
    pirn_yield();
    if (depth == 0) {
        throw std::logic_error("from below");
    }
    return descend(depth - 1) + 1;
}

int throw_from_below(void *) {
    try {
        (void)descend(60);
        CHECK(!"it has thrown");
    } catch (const std::logic_error &caught) {
        CHECK(std::string(caught.what()) == "from below");
    }
    return 0;
}

int deep_throws(void *) {
    unwound = 0;
    pirn_tasklet one = spawn(throw_from_below, nullptr), two = spawn(throw_from_below, nullptr);
    CHECK(join(one) == 0 && join(two) == 0 && unwound == 2 * 61);
    return 0;
}

/* ---- cancelled inside `catch`; ended; and the next life of a stack ---- */

int sleep_in_catch(void *) {
    try {
        throw 7;
    } catch (int) {
        int error = pirn_sleep_until(PIRN_FOREVER);
        try {
            throw error; // as an RAII wrapper of pirn would
        } catch (int code) {
            pirn_shield_enter();
            park(1);
            pirn_shield_leave();
            return code;
        }
    }
}

int see_nothing(void *) {
    CHECK(uncaught() == 0 && std::current_exception() == nullptr);
    return 0;
}

int cancelled_in_catch(void *) {
    try {
        throw 1;
    } catch (int) {
        for (unsigned i = 0; i < 20; i++) {
            pirn_tasklet sleeper = spawn(sleep_in_catch, nullptr);
            pirn_yield();
            CHECK(i % 2 ? pirn_cancel(sleeper) == 0 : pirn_throw(sleeper, PIRN_EBUSY, true) == 0);
            CHECK(join(sleeper) == (i % 2 ? PIRN_ECANCELED : PIRN_EBUSY));
            CHECK(join(spawn(see_nothing, nullptr)) == 0); // on the stack of the one before
        }
        try {
            throw;
        } catch (int value) {
            CHECK(value == 1);
        }
    }
    return 0;
}

/* ---- an exception handed to another tasklet ---- */

int rethrow_it(void *arg) {
    try {
        std::rethrow_exception(*static_cast<std::exception_ptr *>(arg));
    } catch (const std::runtime_error &caught) {
        park(1);
        CHECK(std::string(caught.what()) == "handed over");
    }
    return 0;
}

int handed_over(void *arg) {
    std::exception_ptr pointer;
    try {
        throw std::runtime_error("handed over");
    } catch (...) {
        pointer = std::current_exception();
        pirn_tasklet here = spawn(rethrow_it, &pointer);
        pirn_tasklet there = spawn(rethrow_it, &pointer, 0, int(*static_cast<unsigned *>(arg)) - 1);
        CHECK(join(here) == 0 && join(there) == 0);
        CHECK(std::current_exception() == pointer);
    }
    return 0;
}

/* ---- callbacks on the stack of whoever fires ---- */

pirn_deferred *catch_in_callback(void *context, pirn_result *) {
    try {
        throw 3;
    } catch (int value) {
        *static_cast<int *>(context) += value;
    }
    return nullptr;
}

int callbacks(void *) {
    int sum = 0;
    try {
        throw 1;
    } catch (int) {
        pirn_deferred *now = pirn_deferred_succeed(nullptr, nullptr), *later = pirn_call_later(0);
        CHECK(pirn_deferred_add_both(now, catch_in_callback, &sum) == 0);
        CHECK(pirn_deferred_add_both(later, catch_in_callback, &sum) == 0);
        CHECK(pirn_await(later, nullptr, PIRN_FOREVER) == 0);
        pirn_deferred_release(now);
        pirn_deferred_release(later);
        CHECK(sum == 6 && std::current_exception() != nullptr);
    }
    return 0;
}

/* ---- the list ---- */

struct test {
    const char *name;
    pirn_fn fn;
};

const test tests[] = {
    {"each_keeps_the_exception_it_waits_with", crowd_at_home},
    {"each_keeps_it_beside_its_float_environment", crowd_with_float_env},
    {"each_keeps_it_on_two_workers", crowd_on_two_workers},
    {"uncaught_count_is_each_ones_own", parking_destructors},
    {"exception_passes_through_many_switches", deep_throws},
    {"cancel_inside_catch_leaves_nothing_behind", cancelled_in_catch},
    {"exception_pointer_may_go_to_another_tasklet", handed_over},
    {"callback_may_throw_and_catch", callbacks},
};

} // namespace

extern "C" __attribute__((visibility("default"))) int run_tests(const char *build) {
    for (const test &each : tests) {
        failures = 0;
        for (unsigned mode = 0; mode < 3; mode++) {
            pirn_options options;
            pirn_options_init(&options);
            options.mode = mode == 2 ? PIRN_MODE_SINGLE : PIRN_MODE_THREADED;
            options.poll = mode == 1 ? PIRN_POLL_WORKER : PIRN_POLL_REACTOR;
            options.workers = mode == 2 ? 1 : 2;
            unsigned workers = options.workers;
            CHECK(pirn_run(&options, each.fn, &workers) == 0);
        }
        printf("%s %s::%s%s\n", failures ? "not ok" : "ok", build, each.name, failures ? " - see its output" : "");
        fflush(stdout);
    }
    return 0;
}

#ifndef PLUGIN
int main(int count, char **arguments) {
    return run_tests(count > 1 ? arguments[1] : "exceptions");
}
#endif
