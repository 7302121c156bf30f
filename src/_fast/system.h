/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiled modules ask of the system: sockets, a mutex, a condition, clocks; POSIX and Windows.

   Failures set errno. On Windows that is EAGAIN and EINTR as everywhere, and WinSock's own number for the rest, which is what
   Python's OSError takes there. A socket is an int, as it is for Python: handles of Windows fit into 32 bits. */
#ifndef PLEXO_SYSTEM_H
#define PLEXO_SYSTEM_H

#include <errno.h>
#include <limits.h>
#include <stddef.h>

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#include <process.h>
#else
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#endif

/* One piece of a message that is sent from several places; at most so many. */
#define PLEXO_PIECES 3
typedef struct {
    void *data;
    size_t size;
} plexo_piece;

/* errno of the last call to a socket, with one name for "not now". */
static inline int plexo_socket_error(void) {
#ifdef _WIN32
    int error = WSAGetLastError();
    return error == WSAEWOULDBLOCK ? EAGAIN : error == WSAEINTR ? EINTR : error;
#else
    return errno == EWOULDBLOCK ? EAGAIN : errno;
#endif
}

#ifdef _WIN32

typedef SRWLOCK plexo_mutex;
typedef CONDITION_VARIABLE plexo_condition;
typedef WSAPOLLFD plexo_polled;

static inline int plexo_int(size_t size) {
    return size > INT_MAX ? INT_MAX : (int)size;
}

static inline ptrdiff_t plexo_receive(int fd, void *room, size_t size) {
    int got = recv((SOCKET)fd, (char *)room, plexo_int(size), 0);
    if (got < 0)
        errno = plexo_socket_error();
    return got;
}

static inline ptrdiff_t plexo_send(int fd, const void *data, size_t size) {
    int sent = send((SOCKET)fd, (const char *)data, plexo_int(size), 0);
    if (sent < 0)
        errno = plexo_socket_error();
    return sent;
}

static inline ptrdiff_t plexo_send_pieces(int fd, const plexo_piece *pieces, size_t count) {
    WSABUF buffers[PLEXO_PIECES];
    DWORD sent = 0, each;
    for (each = 0; each < count && each < PLEXO_PIECES; each++) {
        buffers[each].buf = (char *)pieces[each].data;
        buffers[each].len = (ULONG)plexo_int(pieces[each].size);
        if (buffers[each].len != pieces[each].size) {
            each++;
            break; /* what follows comes after the rest of this one */
        }
    }
    if (WSASend((SOCKET)fd, buffers, each, &sent, 0, NULL, NULL) != 0) {
        errno = plexo_socket_error();
        return -1;
    }
    return (ptrdiff_t)sent;
}

/* A pair of sockets is the channel that wakes: here neither pipes nor events can be polled beside sockets. */
static inline ptrdiff_t plexo_read(int fd, void *room, size_t size) {
    return plexo_receive(fd, room, size);
}

static inline ptrdiff_t plexo_write(int fd, const void *data, size_t size) {
    return plexo_send(fd, data, size);
}

static inline void plexo_close(int fd) {
    closesocket((SOCKET)fd);
}

static inline plexo_polled plexo_readable(int fd) {
    plexo_polled polled;
    polled.fd = (SOCKET)fd;
    polled.events = POLLIN;
    polled.revents = 0;
    return polled;
}

static inline int plexo_poll(plexo_polled *polled, int count, int timeout_ms) {
    return WSAPoll(polled, (ULONG)count, timeout_ms);
}

static inline int plexo_process(void) {
    return _getpid();
}

/* There are no signals that a thread of C would take away. */
static inline void plexo_no_signals(void) {}

static inline double plexo_monotonic(void) {
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return (double)now.QuadPart / (double)frequency.QuadPart;
}

static inline void plexo_mutex_init(plexo_mutex *mutex) { InitializeSRWLock(mutex); }
static inline void plexo_mutex_destroy(plexo_mutex *mutex) { (void)mutex; }
static inline void plexo_mutex_lock(plexo_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
static inline void plexo_mutex_unlock(plexo_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }
static inline void plexo_condition_init(plexo_condition *condition) { InitializeConditionVariable(condition); }
static inline void plexo_condition_destroy(plexo_condition *condition) { (void)condition; }
static inline void plexo_condition_tell_all(plexo_condition *condition) { WakeAllConditionVariable(condition); }

static inline void plexo_condition_wait(plexo_condition *condition, plexo_mutex *mutex) {
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}

/* Until `until` of plexo_deadline. 0: woken, maybe for nothing; else the time is over. */
typedef double plexo_instant;

static inline plexo_instant plexo_deadline(int seconds) {
    return plexo_monotonic() + seconds;
}

static inline int plexo_condition_wait_until(plexo_condition *condition, plexo_mutex *mutex, const plexo_instant *until) {
    double rest = *until - plexo_monotonic();
    if (rest <= 0)
        return ETIMEDOUT;
    return SleepConditionVariableSRW(condition, mutex, (DWORD)(rest * 1000) + 1, 0) ? 0 : ETIMEDOUT;
}

#else

typedef pthread_mutex_t plexo_mutex;
typedef pthread_cond_t plexo_condition;
typedef struct pollfd plexo_polled;

/* A peer that is gone is an error, not the signal that ends a process. macOS has no such flag: Python ignores the signal. */
#ifdef MSG_NOSIGNAL
#define PLEXO_QUIETLY MSG_NOSIGNAL
#else
#define PLEXO_QUIETLY 0
#endif

static inline ptrdiff_t plexo_receive(int fd, void *room, size_t size) {
    return recv(fd, room, size, 0);
}

static inline ptrdiff_t plexo_send(int fd, const void *data, size_t size) {
    return send(fd, data, size, PLEXO_QUIETLY);
}

static inline ptrdiff_t plexo_send_pieces(int fd, const plexo_piece *pieces, size_t count) {
    struct iovec parts[PLEXO_PIECES];
    struct msghdr message;
    size_t each;
    for (each = 0; each < count && each < PLEXO_PIECES; each++) {
        parts[each].iov_base = pieces[each].data;
        parts[each].iov_len = pieces[each].size;
    }
    memset(&message, 0, sizeof message);
    message.msg_iov = parts;
    /* The C libraries disagree on its type. */
    message.msg_iovlen = (__typeof__(message.msg_iovlen))each;
    return sendmsg(fd, &message, PLEXO_QUIETLY);
}

static inline ptrdiff_t plexo_read(int fd, void *room, size_t size) {
    return read(fd, room, size);
}

static inline ptrdiff_t plexo_write(int fd, const void *data, size_t size) {
    return write(fd, data, size);
}

static inline void plexo_close(int fd) {
    close(fd);
}

static inline plexo_polled plexo_readable(int fd) {
    plexo_polled polled;
    polled.fd = fd;
    polled.events = POLLIN;
    polled.revents = 0;
    return polled;
}

static inline int plexo_poll(plexo_polled *polled, int count, int timeout_ms) {
    return poll(polled, (nfds_t)count, timeout_ms);
}

static inline int plexo_process(void) {
    return (int)getpid();
}

/* Signals are for threads that run Python. */
static inline void plexo_no_signals(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

static inline double plexo_monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void plexo_mutex_init(plexo_mutex *mutex) { pthread_mutex_init(mutex, NULL); }
static inline void plexo_mutex_destroy(plexo_mutex *mutex) { pthread_mutex_destroy(mutex); }
static inline void plexo_mutex_lock(plexo_mutex *mutex) { pthread_mutex_lock(mutex); }
static inline void plexo_mutex_unlock(plexo_mutex *mutex) { pthread_mutex_unlock(mutex); }
static inline void plexo_condition_init(plexo_condition *condition) { pthread_cond_init(condition, NULL); }
static inline void plexo_condition_destroy(plexo_condition *condition) { pthread_cond_destroy(condition); }
static inline void plexo_condition_tell_all(plexo_condition *condition) { pthread_cond_broadcast(condition); }

static inline void plexo_condition_wait(plexo_condition *condition, plexo_mutex *mutex) {
    pthread_cond_wait(condition, mutex);
}

/* Until `until` of plexo_deadline. 0: woken, maybe for nothing; else the time is over. */
typedef struct timespec plexo_instant;

static inline plexo_instant plexo_deadline(int seconds) {
    plexo_instant until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    return until;
}

static inline int plexo_condition_wait_until(plexo_condition *condition, plexo_mutex *mutex, const plexo_instant *until) {
    return pthread_cond_timedwait(condition, mutex, until);
}

#endif
#endif
