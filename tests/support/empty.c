/* SPDX-License-Identifier: MIT
 *
 * What: nothing. It keeps the support library's source list from being empty in builds where Criterion is the runner.
 * Threads: none.
 */
typedef int pirn_test_support_is_not_empty;
