/* SPDX-License-Identifier: MIT
 *
 * What: the second seed's channel processor: a function that becomes an event loop of its own. Its callers call it as a
 *       function and wait; it takes one call after the other, so its state needs no lock, whichever workers the callers
 *       live on.
 */
#include <stdio.h>
#include <stdlib.h>

#include <pirn.h>

#define CALLERS 4

typedef struct bank_account {
    pirn_processor *processor;
    long balance;
} bank_account;

/* One call. It may wait: the next call is not taken meanwhile. */
static int deposit(void *context, void *request, pirn_result *out) {
    bank_account *self = context;
    long before = self->balance;
    int status = pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    if (status) {
        return status;
    }
    self->balance = before + *(long *)request;
    out->value = &self->balance;
    return 0;
}

static int call(void *arg) {
    bank_account *self = arg;
    for (int i = 0; i < 5; i++) {
        long *amount = malloc(sizeof *amount);
        if (!amount) {
            return PIRN_ENOMEM;
        }
        *amount = 10;
        int status = pirn_processor_call(self->processor, amount, free, NULL, PIRN_FOREVER);
        if (status) {
            return status;
        }
    }
    return 0;
}

static int run(void *unused) {
    (void)unused;
    bank_account account = {NULL, 0};
    account.processor = pirn_processor_create(deposit, &account, NULL);
    if (!account.processor) {
        return PIRN_ENOMEM;
    }
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet callers[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = pirn_spawn_with(&options, call, &account);
    }
    for (int i = 0; i < CALLERS; i++) {
        pirn_join(callers[i], NULL, PIRN_FOREVER);
    }
    int status = pirn_processor_join(account.processor, PIRN_FOREVER);
    printf("balance %ld\n", account.balance);
    return status;
}

int main(void) {
    return pirn_run(NULL, run, NULL) ? 1 : 0;
}
