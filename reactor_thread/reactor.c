/* SPDX-License-Identifier: MIT
 *
 * What: opens, runs and closes the reactor.
 *
 * Threads: the reactor's thread; `stop` is set by a message that is delivered on it.
 * Lifetime: in threaded mode its driver is its own and lives until pn_reactor_close(); inboxes of drivers outlive the
 *       messages addressed to them because the runtime closes nothing before all is quiet (shutdown.c).
 */
#include "reactor.h"

#include "http_engine.h"
#include "later.h"
#include "request.h"
#include "resolve.h"
#include "signal_watch.h"

pn_reactor pn_reactor_current;

int pn_reactor_open(pn_driver *driver, bool sockets) {
    pn_reactor *reactor = &pn_reactor_current;
    *reactor = (pn_reactor){.driver = driver};
    int status = 0;
    if (!driver) {
        status = pn_driver_init(&reactor->own_driver, sockets);
        if (status != 0) {
            return status;
        }
        reactor->driver = &reactor->own_driver;
    }
    status = pn_loop_create(&reactor->loop);
    if (status != 0) {
        goto no_loop;
    }
    status = pn_driver_set_companion(reactor->driver, &reactor->loop->companion);
    if (status != 0) {
        goto no_companion;
    }
    pn_requests_reset();
    return 0;
no_companion:
    pn_loop_destroy(reactor->loop);
no_loop:
    if (!driver) {
        pn_driver_fini(&reactor->own_driver);
    }
    return status;
}

void pn_reactor_run(void) {
    while (!pn_reactor_current.stop) {
        pn_driver_turn(pn_reactor_current.driver, PIRN_FOREVER);
    }
}

void pn_reactor_close(void) {
    pn_reactor *reactor = &pn_reactor_current;
    pn_loop_touch(reactor->loop);
    pn_http_engine_fini();
    pn_laters_fini();
    pn_signal_watches_fini();
    pn_resolver_fini();
    pn_loop_destroy(reactor->loop);
    reactor->loop = NULL;
    if (reactor->driver == &reactor->own_driver) {
        pn_driver_fini(&reactor->own_driver);
    }
    reactor->driver = NULL;
}
