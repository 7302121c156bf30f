// SPDX-License-Identifier: Apache-2.0
/* Floors of the board: what the kernel and the memory take by themselves, without any library.

       floors ingest COUNT CONNECTIONS pubsub|pair    the bytes of so many samples on the wire, counted
       floors stream BYTES_TOTAL CHUNK                one loopback TCP connection, writes and reads of CHUNK
       floors rtt COUNT                               72 bytes there and back, blocking sockets
       floors memcpy BYTES COUNT                      copies of blocks

   Prints one JSON object. A tenth of the work is done first and not measured.
   cc -O2 -Wall -Wextra -Werror floors.c -o floors */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TIMEOUT_S = 60,
    MAX_CONNECTIONS = 64,
    BUFFER_BYTES = 256 * 1024,
    SAMPLE_BYTES = 64,
    RTT_BYTES = 72,  /* a message of 64 bytes with some framing */
    MAX_MESSAGE_BYTES = 128,
    FIRST_SEQUENCE = 1 << 16,
};

static const char TOPIC[] = "bench.Sample.numpy";

/* -- failing, and being bounded in time ----------------------------------------------------------------- */

static void fail(const char *what)
{
    fprintf(stderr, "floors: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static void require(int good, const char *what)
{
    if (!good)
        fail(what);
}

static void on_alarm(int signal)
{
    static const char text[] = "floors: not done within 60 s\n";
    (void)signal;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(4);
    _exit(3);
}

static uint64_t number(const char *text, const char *name)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value == 0) {
        errno = 0;
        fprintf(stderr, "%s: expected a positive number, got \"%s\"\n", name, text);
        exit(2);
    }
    return value;
}

static uint64_t warm_up_of(uint64_t count)
{
    return count < 10 ? 1 : count / 10;
}

/* -- clocks and figures --------------------------------------------------------------------------------- */

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

struct usage {
    double cpu_s;
    uint64_t peak_bytes;
};

static struct usage usage_now(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct usage){
        .cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
                 + 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
        .peak_bytes = 1024 * (uint64_t)usage.ru_maxrss,
    };
}

/* `extra`: more keys, each with a comma behind it. */
static void report(const char *extra, uint64_t count, double cpu_s, uint64_t peak_bytes)
{
    printf("{%s\"count\":%" PRIu64 ",\"cpu_s\":%.6f,\"peak_bytes\":%" PRIu64 "}\n", extra, count, cpu_s,
           peak_bytes);
}

/* -- sockets and the process at the other end ----------------------------------------------------------- */

static void send_all(int link, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(link, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        require(sent > 0, "send");
        data += sent;
        size -= (size_t)sent;
    }
}

static void receive_all(int link, char *data, size_t size)
{
    require(recv(link, data, size, MSG_WAITALL) == (ssize_t)size, "the other end ended early");
}

/* The far end: a forked process with connections to this one, and a channel for "go" and its usage. */
struct far {
    pid_t process;
    int channel;
    int connections;
    int links[MAX_CONNECTIONS];
};

struct work {
    uint64_t warm_up;
    uint64_t count;
    size_t size;
    const char *wire;
};

typedef void far_main(const struct far *self, const struct work *work);

static void go(const struct far *far)
{
    send_all(far->channel, "g", 1);
}

/* At the far end: waits for the start of the measured phase. */
static double await_go(const struct far *self)
{
    char byte;
    receive_all(self->channel, &byte, 1);
    return usage_now().cpu_s;
}

static struct far start_far(int connections, far_main *run, const struct work *work)
{
    struct far far = {.connections = connections};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int channel[2];
    int one = 1;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(server >= 0, "socket");
    require(bind(server, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    require(listen(server, MAX_CONNECTIONS) == 0, "listen");
    require(getsockname(server, (struct sockaddr *)&address, &size) == 0, "getsockname");
    require(socketpair(AF_UNIX, SOCK_STREAM, 0, channel) == 0, "socketpair");
    far.process = fork();
    require(far.process >= 0, "fork");
    int is_far = far.process == 0;
    if (is_far) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(TIMEOUT_S);  /* not inherited */
    }
    far.channel = channel[is_far];
    close(channel[!is_far]);
    for (int i = 0; i < connections; i++) {
        if (is_far) {
            far.links[i] = socket(AF_INET, SOCK_STREAM, 0);
            require(far.links[i] >= 0, "socket");
            require(connect(far.links[i], (struct sockaddr *)&address, sizeof address) == 0, "connect");
        } else {
            far.links[i] = accept(server, NULL, NULL);
            require(far.links[i] >= 0, "accept");
        }
        require(setsockopt(far.links[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "TCP_NODELAY");
    }
    close(server);
    if (is_far) {
        run(&far, work);
        exit(0);
    }
    return far;
}

/* At the far end: its usage goes to who started it. */
static void send_usage(const struct far *self, double cpu_before_s)
{
    struct usage usage = usage_now();
    usage.cpu_s -= cpu_before_s;
    send_all(self->channel, (const char *)&usage, sizeof usage);
}

static struct usage finish_far(const struct far *far)
{
    struct usage usage;
    int status;
    receive_all(far->channel, (char *)&usage, sizeof usage);
    require(waitpid(far->process, &status, 0) == far->process, "waitpid");
    errno = 0;
    require(status == 0, "the process at the other end failed");
    return usage;
}

/* -- ingest --------------------------------------------------------------------------------------------- */

static char *put(char *at, const void *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

static char *put_u64(char *at, uint64_t value)
{
    for (int shift = 0; shift < 64; shift += 8)
        *at++ = (char)(value >> shift);
    return at;
}

static void make_sample(char sample[SAMPLE_BYTES], uint32_t index)
{
    uint32_t head[2] = {index % 100, FIRST_SEQUENCE + index};
    double body[7] = {1700000000.25 + index, 21.5, 21.5, 21.5, 21.5, 21.5, 21.5};
    put(put(sample, head, sizeof head), body, sizeof body);
}

/* One sample as ZMTP frames (docs/wire.md); returns the size. */
static size_t make_message(char message[MAX_MESSAGE_BYTES], const char *wire, uint32_t index)
{
    const size_t topic = sizeof TOPIC - 1;
    char sample[SAMPLE_BYTES];
    char *at = message;
    make_sample(sample, index);
    if (strcmp(wire, "pubsub") == 0) {
        *at++ = 1;
        *at++ = (char)topic;
        at = put(at, TOPIC, topic);
        *at++ = 0;
        *at++ = SAMPLE_BYTES;
    } else {
        /* The envelope: segment table, root, pointers to text and data, text with its NUL, data. */
        const uint64_t text_words = (topic + 1 + 7) / 8, words = 3 + text_words + SAMPLE_BYTES / 8;
        *at++ = 0;
        *at++ = (char)(8 + 8 * words);
        at = put_u64(at, words << 32);
        at = put_u64(at, UINT64_C(2) << 48);
        at = put_u64(at, (UINT64_C(1) << 2 | 1) | (uint64_t)((topic + 1) << 3 | 2) << 32);
        at = put_u64(at, (text_words << 2 | 1) | (uint64_t)(SAMPLE_BYTES << 3 | 2) << 32);
        memset(at, 0, 8 * text_words);
        put(at, TOPIC, topic);
        at += 8 * text_words;
    }
    return (size_t)(put(at, sample, SAMPLE_BYTES) - message);
}

/* Messages to all connections by turns, as many at once as BUFFER_BYTES hold. */
static void ingest_send(const struct far *self, const char *buffer, size_t size, uint64_t per_connection)
{
    const uint64_t at_once = BUFFER_BYTES / size;
    while (per_connection > 0) {
        uint64_t messages = per_connection < at_once ? per_connection : at_once;
        for (int i = 0; i < self->connections; i++)
            send_all(self->links[i], buffer, messages * size);
        per_connection -= messages;
    }
}

static void ingest_far(const struct far *self, const struct work *work)
{
    static char buffer[BUFFER_BYTES];
    char message[MAX_MESSAGE_BYTES];
    size_t size = 0;
    char *at = buffer;
    for (uint32_t index = 0; index < BUFFER_BYTES / work->size; index++) {
        size = make_message(message, work->wire, index % 1000);
        at = put(at, message, size);
    }
    require(size == work->size, "messages differ in size");
    ingest_send(self, buffer, size, work->warm_up);
    double cpu_before_s = await_go(self);
    ingest_send(self, buffer, size, work->count);
    send_usage(self, cpu_before_s);
}

/* Reads exactly `bytes` from all connections together. */
static void ingest_receive(const struct far *far, uint64_t bytes)
{
    static char buffer[BUFFER_BYTES];
    struct pollfd entries[MAX_CONNECTIONS];
    const int many = far->connections > 1;
    uint64_t seen = 0;
    for (int i = 0; i < far->connections; i++)
        entries[i] = (struct pollfd){.fd = far->links[i], .events = POLLIN};
    while (seen < bytes) {
        /* One connection needs no poll: it waits in recv. */
        if (many)
            require(poll(entries, (nfds_t)far->connections, -1) > 0, "poll");
        for (int i = 0; i < far->connections; i++) {
            if (many && !entries[i].revents)
                continue;
            ssize_t size = recv(far->links[i], buffer, sizeof buffer, many ? MSG_DONTWAIT : 0);
            if (size == 0 && many) {
                /* This one has sent everything and closed; poll skips it, and the others may go on. */
                entries[i].fd = -1;
                entries[i].revents = 0;
                continue;
            }
            require(size > 0, "recv");
            seen += (uint64_t)size;
        }
    }
    errno = 0;
    require(seen == bytes, "more bytes came than were sent");
}

static void ingest(uint64_t count, uint64_t connections, const char *wire)
{
    char message[MAX_MESSAGE_BYTES], extra[128];
    errno = 0;
    require(connections <= MAX_CONNECTIONS, "CONNECTIONS: too many");
    require(count % connections == 0, "COUNT: expected a multiple of CONNECTIONS");
    require(strcmp(wire, "pubsub") == 0 || strcmp(wire, "pair") == 0, "WIRE: expected pubsub or pair");
    /* Of each connection. */
    struct work work = {
        .warm_up = warm_up_of(count / connections),
        .count = count / connections,
        .size = make_message(message, wire, 0),
        .wire = wire,
    };
    struct far far = start_far((int)connections, ingest_far, &work);
    ingest_receive(&far, connections * work.warm_up * work.size);
    double cpu_before_s = usage_now().cpu_s, begin = now_s();
    go(&far);
    ingest_receive(&far, count * work.size);
    double seconds = now_s() - begin;
    struct usage usage = usage_now(), far_usage = finish_far(&far);
    snprintf(extra, sizeof extra, "\"per_second\":%.1f,\"bytes_per_second\":%.1f,", (double)count / seconds,
             (double)(count * work.size) / seconds);
    report(extra, count, usage.cpu_s - cpu_before_s + far_usage.cpu_s,
           usage.peak_bytes + far_usage.peak_bytes);
}

/* -- stream --------------------------------------------------------------------------------------------- */

static char *filled(size_t size)
{
    char *block = malloc(size);
    require(block != NULL, "malloc");
    memset(block, 0x5a, size);
    return block;
}

static void stream_far(const struct far *self, const struct work *work)
{
    char *chunk = filled(work->size);
    double cpu_before_s = 0;
    for (int measured = 0; measured < 2; measured++) {
        if (measured)
            cpu_before_s = await_go(self);
        for (uint64_t left = measured ? work->count : work->warm_up; left > 0;) {
            size_t size = left < work->size ? (size_t)left : work->size;
            send_all(self->links[0], chunk, size);
            left -= size;
        }
    }
    send_usage(self, cpu_before_s);
    free(chunk);
}

static void stream_receive(const struct far *far, char *chunk, size_t room, uint64_t bytes)
{
    while (bytes > 0) {
        ssize_t size = recv(far->links[0], chunk, bytes < room ? (size_t)bytes : room, 0);
        require(size > 0, "recv");
        bytes -= (uint64_t)size;
    }
}

static void stream(uint64_t bytes, uint64_t chunk_bytes)
{
    char extra[128];
    struct work work = {.warm_up = warm_up_of(bytes), .count = bytes, .size = chunk_bytes};
    char *chunk = filled(chunk_bytes);
    struct far far = start_far(1, stream_far, &work);
    stream_receive(&far, chunk, chunk_bytes, work.warm_up);
    double cpu_before_s = usage_now().cpu_s, begin = now_s();
    go(&far);
    stream_receive(&far, chunk, chunk_bytes, bytes);
    double seconds = now_s() - begin;
    struct usage usage = usage_now(), far_usage = finish_far(&far);
    snprintf(extra, sizeof extra, "\"bytes_per_second\":%.1f,", (double)bytes / seconds);
    report(extra, bytes, usage.cpu_s - cpu_before_s + far_usage.cpu_s,
           usage.peak_bytes + far_usage.peak_bytes);
    free(chunk);
}

/* -- rtt ------------------------------------------------------------------------------------------------ */

static void rtt_far(const struct far *self, const struct work *work)
{
    char message[RTT_BYTES];
    double cpu_before_s = 0;
    for (uint64_t i = 0; i < work->warm_up + work->count; i++) {
        if (i == work->warm_up)
            cpu_before_s = await_go(self);
        receive_all(self->links[0], message, sizeof message);
        send_all(self->links[0], message, sizeof message);
    }
    send_usage(self, cpu_before_s);
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double quantile_us(const double *sorted_s, uint64_t count, uint64_t thousandths)
{
    uint64_t rank = (count * thousandths + 999) / 1000;  /* nearest rank, from 1 */
    return 1e6 * sorted_s[rank - 1];
}

static void rtt(uint64_t count)
{
    char message[RTT_BYTES] = {0}, extra[160];
    struct work work = {.warm_up = warm_up_of(count), .count = count};
    double *latencies_s = calloc(count, sizeof *latencies_s);
    double cpu_before_s = 0, start = 0;
    require(latencies_s != NULL, "calloc");
    struct far far = start_far(1, rtt_far, &work);
    for (uint64_t i = 0; i < work.warm_up + count; i++) {
        if (i == work.warm_up) {
            go(&far);
            cpu_before_s = usage_now().cpu_s;
            start = now_s();
        }
        double begin = now_s();
        send_all(far.links[0], message, sizeof message);
        receive_all(far.links[0], message, sizeof message);
        if (i >= work.warm_up)
            latencies_s[i - work.warm_up] = now_s() - begin;
    }
    double seconds = now_s() - start;
    struct usage usage = usage_now(), far_usage = finish_far(&far);
    qsort(latencies_s, count, sizeof *latencies_s, ascending);
    snprintf(extra, sizeof extra, "\"per_second\":%.1f,\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,",
             (double)count / seconds, quantile_us(latencies_s, count, 500),
             quantile_us(latencies_s, count, 990), quantile_us(latencies_s, count, 999));
    report(extra, count, usage.cpu_s - cpu_before_s + far_usage.cpu_s,
           usage.peak_bytes + far_usage.peak_bytes);
    free(latencies_s);
}

/* -- memcpy --------------------------------------------------------------------------------------------- */

static void copy_blocks(char *to, const char *from, size_t bytes, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        memcpy(to, from, bytes);
        /* The compiler must believe that somebody reads the copy. */
        __asm__ volatile("" : : "r"(to), "r"(from) : "memory");
    }
}

static void copies(uint64_t bytes, uint64_t count)
{
    char extra[128];
    char *from = filled(bytes), *to = malloc(bytes);
    require(to != NULL, "malloc");
    copy_blocks(to, from, bytes, warm_up_of(count));
    double cpu_before_s = usage_now().cpu_s, begin = now_s();
    copy_blocks(to, from, bytes, count);
    double seconds = now_s() - begin;
    struct usage usage = usage_now();
    errno = 0;
    require(memcmp(to, from, bytes) == 0, "the copy differs");
    snprintf(extra, sizeof extra, "\"per_second\":%.1f,\"bytes_per_second\":%.1f,", (double)count / seconds,
             (double)bytes * (double)count / seconds);
    report(extra, count, usage.cpu_s - cpu_before_s, usage.peak_bytes);
    free(from);
    free(to);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    signal(SIGALRM, on_alarm);
    alarm(TIMEOUT_S);
    if (strcmp(command, "ingest") == 0 && argc == 5)
        ingest(number(argv[2], "COUNT"), number(argv[3], "CONNECTIONS"), argv[4]);
    else if (strcmp(command, "stream") == 0 && argc == 4)
        stream(number(argv[2], "BYTES_TOTAL"), number(argv[3], "CHUNK"));
    else if (strcmp(command, "rtt") == 0 && argc == 3)
        rtt(number(argv[2], "COUNT"));
    else if (strcmp(command, "memcpy") == 0 && argc == 4)
        copies(number(argv[2], "BYTES"), number(argv[3], "COUNT"));
    else {
        fprintf(stderr, "usage: floors {ingest COUNT CONNECTIONS pubsub|pair, stream BYTES_TOTAL CHUNK, "
                        "rtt COUNT, memcpy BYTES COUNT}\n");
        return 2;
    }
    return 0;
}
