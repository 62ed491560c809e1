/* SPDX-License-Identifier: MIT
 *
 * pirn.h: tasklets and channels (Stackless Python) joined to a reactor and deferreds (Twisted), on many cores.
 *
 * Every call is documented in this order: what it does; whether it parks; which thread may call it; its arguments; who
 * owns what on success and on failure; every error and its cause ("the wait's codes" stand in pirn/base.h); the
 * Stackless or Twisted name it answers to. Unless a call says otherwise it never parks and runs on a worker's thread.
 */
#ifndef PIRN_H
#define PIRN_H

#include <pirn/base.h>
#include <pirn/channel.h>
#include <pirn/deferred.h>
#include <pirn/inspect.h>
#include <pirn/offload.h>
#include <pirn/processor.h>
#include <pirn/reactor.h>
#include <pirn/runtime.h>
#include <pirn/socket.h>
#include <pirn/tasklet.h>

#endif
