/* SPDX-License-Identifier: MIT
 *
 * What: the signals that channels are open for, as the reactor sees them at its end.
 * Threads: the reactor's.
 */
#ifndef PN_SIGNAL_WATCH_H
#define PN_SIGNAL_WATCH_H

/* Stop watching, and close the channels: those that wait for a signal wake with PIRN_ECLOSED. Further opens fail. */
void pn_signal_watches_refuse(void);

/* Free what the program did not close. No tasklet is left. */
void pn_signal_watches_fini(void);

#endif
