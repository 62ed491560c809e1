/* SPDX-License-Identifier: MIT
 *
 * What: two tasklets pass a number to and fro over two rendezvous channels: a send ends when the other has the value.
 * Try: ping_pong 1000000
 */
#include <stdio.h>
#include <stdlib.h>

#include <pirn.h>

typedef struct table {
    pirn_channel *to, *fro;
} table;

/* Return every ball until the channel is closed. */
static int pong(void *arg) {
    table *game = arg;
    long ball;
    int status;
    while ((status = pirn_recv(game->to, &ball, PIRN_FOREVER)) == 0) {
        ball++;
        status = pirn_send(game->fro, &ball, PIRN_FOREVER);
        if (status) {
            break;
        }
    }
    return status == PIRN_ECLOSED ? 0 : status;
}

static int play(table *game, long rounds) {
    long ball = 0;
    pirn_time began = pirn_now();
    while (ball < 2 * rounds) {
        int status = pirn_send(game->to, &ball, PIRN_FOREVER);
        status = status ? status : pirn_recv(game->fro, &ball, PIRN_FOREVER);
        if (status) {
            return status;
        }
        ball++;
    }
    printf("%ld rounds, %.0f ns each\n", rounds, (double)(pirn_now() - began) / (double)rounds);
    return 0;
}

static int run(void *arg) {
    table game = {pirn_channel_create(sizeof(long), 0), pirn_channel_create(sizeof(long), 0)};
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = "pong";
    options.flags = PIRN_JOINABLE;
    int status = PIRN_ENOMEM;
    if (game.to && game.fro) {
        pirn_tasklet other = pirn_spawn_with(&options, pong, &game);
        status = play(&game, *(long *)arg);
        pirn_channel_close(game.to);
        pirn_join(other, NULL, PIRN_FOREVER);
    }
    pirn_channel_destroy(game.to);
    pirn_channel_destroy(game.fro);
    return status;
}

int main(int argument_count, char **arguments) {
    long rounds = argument_count > 1 ? atol(arguments[1]) : 1000;
    return pirn_run(NULL, run, &rounds) ? 1 : 0;
}
