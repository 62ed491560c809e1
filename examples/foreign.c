/* SPDX-License-Identifier: MIT
 *
 * What: a thread that pirn did not start sends to a tasklet (Twisted's callFromThread). The handle says that something
 *       outside may wake tasklets, so a tasklet that waits for it is not called deadlocked.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include <pirn.h>

#define READINGS 5
#define THE_END  (-1)

typedef struct room_sensor {
    pirn_foreign *handle;
    pirn_channel *readings;
} room_sensor;

/* The foreign thread. A post never blocks: with nobody waiting and no room the reading is lost, and counted. */
static void *measure(void *arg) {
    room_sensor *self = arg;
    int lost = 0;
    for (int i = 0; i < READINGS; i++) {
        int reading = 20 + i * i;
        lost += pirn_post(self->handle, self->readings, &reading) != 0;
        usleep(2000);
    }
    int end = THE_END;
    lost += pirn_post(self->handle, self->readings, &end) != 0;
    pirn_foreign_close(self->handle);
    return lost ? "some readings were lost" : NULL;
}

static int run(void *unused) {
    (void)unused;
    room_sensor sensor = {pirn_foreign_open(), pirn_channel_create(sizeof(int), READINGS + 1)};
    pthread_t thread;
    if (!sensor.handle || !sensor.readings || pthread_create(&thread, NULL, measure, &sensor)) {
        return PIRN_ENOMEM;
    }
    int reading;
    while (pirn_recv(sensor.readings, &reading, PIRN_FOREVER) == 0 && reading != THE_END) {
        printf("%d degrees\n", reading);
    }
    void *complaint = NULL;
    pthread_join(thread, &complaint); /* it has said all it had to say: this waits for microseconds */
    if (complaint) {
        printf("%s\n", (char *)complaint);
    }
    pirn_channel_destroy(sensor.readings);
    return 0;
}

int main(void) {
    return pirn_run(NULL, run, NULL) ? 1 : 0;
}
