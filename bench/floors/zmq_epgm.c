/* SPDX-License-Identifier: Apache-2.0
 * Row multicast of the board, its rival libzmq: `zmq_epgm send|receive RATE_KBIT SIZE ADDRESS`, see
 * compare/drivers/multicast_common.py. In C and without a codec, messages of topic and payload: the most that libzmq's epgm can do.
 * libzmq's header is not needed (Debian's libzmq5 has none): what is called is declared here.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

extern void *zmq_ctx_new(void);
extern void *zmq_socket(void *context, int kind);
extern int zmq_setsockopt(void *socket, int option, const void *value, size_t size);
extern int zmq_connect(void *socket, const char *endpoint);
extern int zmq_send(void *socket, const void *data, size_t size, int flags);
extern int zmq_recv(void *socket, void *data, size_t size, int flags);
extern int zmq_close(void *socket);
extern int zmq_ctx_term(void *context);
extern int zmq_has(const char *capability);

enum { PUB = 1, SUB = 2, SUBSCRIBE = 6, RATE = 8, RECOVERY_MS = 9, SNDBUF = 11, RCVBUF = 12, LINGER = 17, SNDHWM = 23,
       RCVHWM = 24, RCVTIMEO = 27 };
#define TOPIC "bench.Reading.msgpack"
enum { SNDMORE = 2 };
enum { LARGEST = 65536, IDLE_MS = 1500 };
/* As the other drivers: sequences go round from FIRST. */
enum { DIFFERENT = 1000, FIRST = 1 << 16 };

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + 1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void set(void *socket, int option, int value) {
    if (zmq_setsockopt(socket, option, &value, sizeof value)) {
        fprintf(stderr, "zmq_setsockopt %d failed\n", option);
        exit(1);
    }
}

static int send_all(void *socket, long count, size_t size) {
    static unsigned char data[LARGEST];
    for (long i = 0; i < count; i++) {
        uint64_t sequence = FIRST + (uint64_t)(i % DIFFERENT);
        memcpy(data, &sequence, sizeof sequence);
        if (zmq_send(socket, TOPIC, sizeof TOPIC - 1, SNDMORE) < 0 || zmq_send(socket, data, size, 0) < 0)
            return -1;
    }
    puts("sent");
    return 0;
}

static void receive_all(void *socket, long wanted, size_t size) {
    static unsigned char data[LARGEST];
    long count = 0;
    uint64_t checksum = 0;
    double last = now_s();
    while (count < wanted) {
        int got = zmq_recv(socket, data, sizeof data, 0);
        if (got < 0)
            break;
        if (got == sizeof TOPIC - 1 && memcmp(data, TOPIC, sizeof TOPIC - 1) == 0)
            continue;
        /* After a loss libzmq may deliver what was never sent; that is no message. */
        if ((size_t)got == size) {
            uint64_t sequence;
            memcpy(&sequence, data, sizeof sequence);
            checksum += sequence;
            count++;
        }
        if (count % 1000 == 0 || count == wanted)
            last = now_s();
    }
    printf("{\"count\": %ld, \"checksum\": %llu, \"idle_s\": %f}\n", count, (unsigned long long)checksum,
           now_s() - last);
}

int main(int argc, char **argv) {
    char line[64], endpoint[128];
    double begun = 0;
    if (argc != 5)
        return 2;
    if (!zmq_has("pgm")) {
        fprintf(stderr, "missing: libzmq is built without PGM\n");
        return 1;
    }
    int sends = strcmp(argv[1], "send") == 0;
    size_t size = (size_t)atol(argv[3]);
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, sends ? PUB : SUB);
    set(socket, RATE, atoi(argv[2]));
    set(socket, RECOVERY_MS, 10000);
    set(socket, sends ? SNDHWM : RCVHWM, 0);
    set(socket, SNDBUF, 4 << 20);
    set(socket, RCVBUF, 4 << 20);
    set(socket, LINGER, 2000);
    set(socket, RCVTIMEO, IDLE_MS);
    if (!sends)
        zmq_setsockopt(socket, SUBSCRIBE, "", 0);
    snprintf(endpoint, sizeof endpoint, "epgm://%s;239.255.7.1:5560", argv[4]);
    if (zmq_connect(socket, endpoint)) {
        fprintf(stderr, "cannot connect to %s\n", endpoint);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        begun = cpu_s();
        if (!sends)
            receive_all(socket, atol(line), size);
        else if (send_all(socket, atol(line), size))
            return 1;
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"cpu_s\": %f, \"peak_bytes\": %ld}\n", cpu_s() - begun, 1024 * used.ru_maxrss);
    zmq_close(socket);
    zmq_ctx_term(context);
    return 0;
}
