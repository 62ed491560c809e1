/* SPDX-License-Identifier: MIT
 *
 * What: sums of times and durations, at both ends of the numbers.
 * Threads: one.
 */
#include "core_test.h"
#include "deadline.h"

/* Goal: a sum of a time and a duration never overflows. Method: sums around the largest number, and negative ones. */
Test(clock, deadline_saturates) {
    cr_assert_eq(pn_deadline(5, 7), 12);
    cr_assert_eq(pn_deadline(5, 0), 5);
    cr_assert_eq(pn_deadline(5, -1), 5);
    cr_assert_eq(pn_deadline(5, INT64_MIN), 5);
    cr_assert_eq(pn_deadline(5, PIRN_FOREVER), PIRN_FOREVER);
    cr_assert_eq(pn_deadline(5, PIRN_FOREVER - 5), PIRN_FOREVER);
    cr_assert_eq(pn_deadline(5, PIRN_FOREVER - 6), PIRN_FOREVER - 1);
    cr_assert_eq(pn_deadline(0, PIRN_FOREVER), PIRN_FOREVER);
    cr_assert_eq(pn_deadline(PIRN_FOREVER, 0), PIRN_FOREVER);
    cr_assert_eq(pn_deadline(PIRN_FOREVER, 1), PIRN_FOREVER);
    cr_assert_eq(pn_deadline(PIRN_FOREVER, PIRN_FOREVER), PIRN_FOREVER);
}

/* Goal: the time left until any deadline is a length of time. Method: deadlines before and after now, and both ends. */
Test(clock, time_left_is_never_negative) {
    cr_assert_eq(pn_time_left(12, 5), 7);
    cr_assert_eq(pn_time_left(5, 5), 0);
    cr_assert_eq(pn_time_left(4, 5), 0);
    cr_assert_eq(pn_time_left(INT64_MIN, 5), 0);
    cr_assert_eq(pn_time_left(PIRN_FOREVER, 5), PIRN_FOREVER - 5);
}

/* Goal: pirn_after keeps to the same rules. Method: around the largest and the smallest number. */
Test(clock, after_saturates) {
    pirn_time before = pirn_now();
    cr_assert_eq(pirn_after(PIRN_FOREVER), PIRN_FOREVER);
    cr_assert_geq(pirn_after(PIRN_FOREVER - 1), PIRN_FOREVER - 1);
    cr_assert_geq(pirn_after(INT64_MIN), before);
    cr_assert_geq(pirn_after(-1), before);
    cr_assert_leq(pirn_after(INT64_MIN), pirn_now());
}
