/* SPDX-License-Identifier: MIT
 *
 * What: starts nginx (a proxy before another server block of its own, so that it reads bodies whole) and a Go program
 *       that reads the body and answers; both in a folder of their own, which goes with them.
 * Threads: the test's own.
 */
#include "http_peers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SILENCE_MS 150 /* without a byte for so long it is waiting for more */
#define ANSWER_MAX 65536

static const char nginx_conf[] = "daemon off; master_process off; pid %s/pid; error_log %s/error.log;\n"
                                 "events { worker_connections 256; }\n"
                                 "http {\n"
                                 "  access_log off; keepalive_requests 1000;\n"
                                 "  client_body_temp_path %s/body; proxy_temp_path %s/proxy;\n"
                                 "  large_client_header_buffers 4 33k;\n"
                                 "  server { listen 127.0.0.1:%d; location / {\n"
                                 "    proxy_pass http://127.0.0.1:%d; proxy_ignore_client_abort on; } }\n"
                                 "  server { listen 127.0.0.1:%d; location = /204 { return 204; }\n"
                                 "    location = /205 { return 205; } location = /304 { return 304; }\n"
                                 "    location = /404 { return 404; } location / { return 200 seen; } }\n"
                                 "}\n";

static const char go_program[] =
    "package main\n"
    "import (\"io\"; \"net/http\"; \"os\"; \"strconv\")\n"
    "func main() {\n"
    "  http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {\n"
    "    r.Body = http.MaxBytesReader(w, r.Body, 1 << 20)\n"
    "    if _, err := io.ReadAll(r.Body); err != nil { w.Header().Set(\"Connection\", \"close\")\n"
    "      w.WriteHeader(400); return }\n"
    "    if len(r.URL.Path) == 4 { if n, err := strconv.Atoi(r.URL.Path[1:]); err == nil {\n"
    "      w.WriteHeader(n); return } }\n"
    "    w.Write([]byte(\"seen\"))\n"
    "  }))\n"
    "}\n";

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound =
        bind(fd, (struct sockaddr *)&address, bytes) == 0 && getsockname(fd, (struct sockaddr *)&address, &bytes) == 0;
    close(fd);
    return bound ? ntohs(address.sin_port) : 0;
}

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool comes_up(int port) {
    for (int tries = 0; tries < 200; tries++) {
        int fd = connect_to(port);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        usleep(20000);
    }
    return false;
}

static pid_t run(const char *const *argv) {
    pid_t child = fork();
    if (child == 0) {
        int nothing = open("/dev/null", O_RDWR);
        dup2(nothing, STDIN_FILENO);
        dup2(nothing, STDOUT_FILENO);
        dup2(nothing, STDERR_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return child;
}

static void stop(pid_t child) {
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

static const char *start_nginx(http_peers *peers) {
    char path[96];
    int inner_port = free_port();
    peers->nginx_port = free_port();
    snprintf(path, sizeof path, "%s/nginx.conf", peers->folder);
    FILE *conf = fopen(path, "w");
    fprintf(conf, nginx_conf, peers->folder, peers->folder, peers->folder, peers->folder, peers->nginx_port, inner_port,
            inner_port);
    fclose(conf);
    peers->nginx = run((const char *const[]){"nginx", "-p", peers->folder, "-c", path, NULL});
    return comes_up(peers->nginx_port) ? NULL : "nginx does not start (nginx-light)";
}

static const char *start_go(http_peers *peers) {
    char path[96], program[96], address[32];
    int status = -1;
    peers->go_port = free_port();
    snprintf(address, sizeof address, "127.0.0.1:%d", peers->go_port);
    snprintf(path, sizeof path, "%s/peer.go", peers->folder);
    snprintf(program, sizeof program, "%s/peer", peers->folder);
    FILE *source = fopen(path, "w");
    fputs(go_program, source);
    fclose(source);
    setenv("GO111MODULE", "off", 1);
    pid_t builder = run((const char *const[]){"go", "build", "-o", program, path, NULL});
    if (waitpid(builder, &status, 0) != builder || status != 0) {
        return "go does not build (golang-go)";
    }
    peers->go = run((const char *const[]){program, address, NULL});
    return comes_up(peers->go_port) ? NULL : "the Go server does not start";
}

const char *http_peers_start(http_peers *peers) {
    memset(peers, 0, sizeof *peers);
    strcpy(peers->folder, "/tmp/pirn-peers-XXXXXX");
    if (!mkdtemp(peers->folder)) {
        return "no folder for nginx and Go";
    }
    const char *missing = start_nginx(peers);
    missing = missing ? missing : start_go(peers);
    if (missing) {
        http_peers_stop(peers);
    }
    return missing;
}

void http_peers_stop(http_peers *peers) {
    char command[96];
    stop(peers->nginx);
    stop(peers->go);
    snprintf(command, sizeof command, "rm -rf %s", peers->folder);
    if (system(command) != 0) {
        fprintf(stderr, "%s stays\n", peers->folder);
    }
}

/* Every line of that form at the start of a response; bodies here never contain one. */
static void put_statuses(const char *answer, char *judgement, size_t bytes) {
    size_t length = 0;
    judgement[0] = '\0';
    for (const char *at = answer; (at = strstr(at, "HTTP/1.")); at++) {
        int status = 0;
        if (sscanf(at + 8, " %3d ", &status) == 1 && status != 100 && length + 8 < bytes) {
            length += (size_t)snprintf(judgement + length, bytes - length, "%s%d", length ? " " : "", status);
        }
    }
}

void http_peers_ask(int port, const char *bytes, size_t length, char *judgement, size_t judgement_bytes) {
    static char answer[ANSWER_MAX];
    size_t got = 0;
    bool closed = false;
    int fd = connect_to(port);
    if (fd < 0 || send(fd, bytes, length, MSG_NOSIGNAL) < 0) {
        closed = true;
    }
    while (!closed && got + 1 < sizeof answer) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        if (poll(&one, 1, SILENCE_MS) <= 0) {
            break;
        }
        ssize_t count = recv(fd, answer + got, sizeof answer - 1 - got, 0);
        closed = count <= 0;
        got += count > 0 ? (size_t)count : 0;
    }
    answer[got] = '\0';
    close(fd);
    put_statuses(answer, judgement, judgement_bytes);
    if (closed && strlen(judgement) + 7 < judgement_bytes) {
        strcat(judgement, *judgement ? " close" : "close");
    }
}
