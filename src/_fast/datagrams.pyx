# SPDX-License-Identifier: Apache-2.0
"""Datagrams from and to UDP sockets of IPv4, as many with one system call as the system lets us.

On Linux that is recvmmsg and sendmmsg, and for packets of one size UDP_SEGMENT, which has the kernel (or the network card)
divide one large piece into datagrams, and UDP_GRO, its counterpart. Elsewhere it is one call for each datagram. Sockets do not
block, so the interpreter's lock is kept. Errors that an earlier datagram brought back (a port that nobody listens on) are not
this one's, and are passed over: such an error tells nothing about a socket that has many peers.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #include "system.h"
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #ifndef _WIN32
    #include <netinet/in.h>
    #endif
    #ifdef __linux__
    #include <netinet/udp.h>
    #ifndef SOL_UDP
    #define SOL_UDP 17
    #endif
    #ifndef UDP_SEGMENT
    #define UDP_SEGMENT 103
    #endif
    #ifndef UDP_GRO
    #define UDP_GRO 104
    #endif
    #endif

    /* WinSock counts in int. No datagram is longer. */
    #ifdef _WIN32
    typedef int plexo_length;
    #else
    typedef size_t plexo_length;
    #endif

    #define PLEXO_BATCH 32
    #define PLEXO_ROOM 65536
    #define PLEXO_SEND_BATCH 64
    #define PLEXO_LARGEST 65507
    /* Errors of earlier datagrams that one call passes over. */
    #define PLEXO_TRIES 8

    /* As Datagram. */
    typedef struct {
        const unsigned char *data;
        size_t size;
        size_t segment;
        uint32_t host;
        uint16_t port;
        int truncated;
    } plexo_datagram;

    #ifdef __linux__
    typedef struct {
        struct mmsghdr headers[PLEXO_BATCH];
        struct iovec pieces[PLEXO_BATCH];
        struct sockaddr_in senders[PLEXO_BATCH];
        union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int))]; } control[PLEXO_BATCH];
        unsigned char *rooms;
        int dirty;
    } plexo_reader;
    #else
    typedef struct {
        unsigned char *rooms;
    } plexo_reader;
    #endif

    static void *plexo_reader_new(void) {
        plexo_reader *reader = (plexo_reader *)calloc(1, sizeof(plexo_reader));
        if (reader == NULL)
            return NULL;
        /* Pages that no datagram reaches are never touched. */
        reader->rooms = (unsigned char *)malloc((size_t)PLEXO_BATCH * PLEXO_ROOM);
        if (reader->rooms == NULL) {
            free(reader);
            return NULL;
        }
    #ifdef __linux__
        for (int i = 0; i < PLEXO_BATCH; i++) {
            struct msghdr *header = &reader->headers[i].msg_hdr;
            reader->pieces[i].iov_base = reader->rooms + (size_t)i * PLEXO_ROOM;
            reader->pieces[i].iov_len = PLEXO_ROOM;
            header->msg_name = &reader->senders[i];
            header->msg_iov = &reader->pieces[i];
            header->msg_iovlen = 1;
            header->msg_control = reader->control[i].bytes;
        }
        reader->dirty = PLEXO_BATCH;
    #endif
        return reader;
    }

    static void plexo_reader_free(void *state) {
        if (state != NULL) {
            free(((plexo_reader *)state)->rooms);
            free(state);
        }
    }

    /* errno of the last call, in the terms of POSIX for what is looked at below. */
    static int plexo_error(void) {
        int error = plexo_socket_error();
    #ifdef _WIN32
        switch (error) {
        case WSAECONNRESET: case WSAENETRESET: return ECONNREFUSED;
        case WSAEHOSTUNREACH: return EHOSTUNREACH;
        case WSAENETUNREACH: return ENETUNREACH;
        case WSAEMSGSIZE: return EMSGSIZE;
        case WSAENOBUFS: return ENOBUFS;
        }
    #endif
        return error;
    }

    /* Brought back by a datagram that this host sent, or nothing of the kind. */
    static int plexo_passing(int error) {
        return error == EINTR || error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH;
    }

    #ifdef __linux__
    static int plexo_receive_batch(plexo_reader *reader, int fd, plexo_datagram *found) {
        int i, count;
        for (i = 0; i < reader->dirty; i++) {
            reader->headers[i].msg_hdr.msg_namelen = sizeof reader->senders[i];
            reader->headers[i].msg_hdr.msg_controllen = sizeof reader->control[i].bytes;
            reader->headers[i].msg_hdr.msg_flags = 0;
        }
        reader->dirty = 0;
        count = recvmmsg(fd, reader->headers, PLEXO_BATCH, MSG_DONTWAIT, NULL);
        if (count < 0) {
            reader->dirty = 1;
            return -1;
        }
        reader->dirty = count;
        for (i = 0; i < count; i++) {
            struct msghdr *header = &reader->headers[i].msg_hdr;
            struct cmsghdr *each;
            found[i].data = (const unsigned char *)reader->pieces[i].iov_base;
            found[i].size = found[i].segment = reader->headers[i].msg_len;
            found[i].host = ntohl(reader->senders[i].sin_addr.s_addr);
            found[i].port = ntohs(reader->senders[i].sin_port);
            found[i].truncated = (header->msg_flags & MSG_TRUNC) != 0;
            for (each = CMSG_FIRSTHDR(header); each != NULL; each = CMSG_NXTHDR(header, each))
                if (each->cmsg_level == SOL_UDP && each->cmsg_type == UDP_GRO) {
                    int segment;
                    memcpy(&segment, CMSG_DATA(each), sizeof segment);
                    if (segment > 0 && (size_t)segment < found[i].size)
                        found[i].segment = (size_t)segment;
                }
        }
        return count;
    }
    #else
    static int plexo_receive_batch(plexo_reader *reader, int fd, plexo_datagram *found) {
        int count;
        for (count = 0; count < PLEXO_BATCH; count++) {
            unsigned char *room = reader->rooms + (size_t)count * PLEXO_ROOM;
            struct sockaddr_in sender;
            socklen_t size = sizeof sender;
            long got;
            memset(&sender, 0, sizeof sender);
            got = (long)recvfrom(fd, (char *)room, PLEXO_ROOM, 0, (struct sockaddr *)&sender, &size);
            /* Windows: it was longer than the room. */
            found[count].truncated = got < 0 && plexo_error() == EMSGSIZE;
            if (found[count].truncated)
                got = PLEXO_ROOM;
            else if (got < 0)
                return count ? count : -1;
            found[count].data = room;
            found[count].size = found[count].segment = (size_t)got;
            found[count].host = ntohl(sender.sin_addr.s_addr);
            found[count].port = ntohs(sender.sin_port);
        }
        return count;
    }
    #endif

    /* How many came; 0: nothing there; -1: errno. */
    static int plexo_fill(void *state, int fd, plexo_datagram *found) {
        int tries, count, error;
        for (tries = 0; tries < PLEXO_TRIES; tries++) {
            count = plexo_receive_batch((plexo_reader *)state, fd, found);
            if (count >= 0)
                return count;
            error = plexo_error();
            if (error == EAGAIN)
                return 0;
            if (!plexo_passing(error)) {
                errno = error;
                return -1;
            }
        }
        return 0;
    }

    #ifdef __linux__
    static long plexo_send_divided(int fd, const struct sockaddr_in *to, const unsigned char *data, size_t size,
                                   size_t segment) {
        struct msghdr header;
        struct iovec piece;
        union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(uint16_t))]; } control;
        uint16_t value = (uint16_t)segment;
        memset(&header, 0, sizeof header);
        memset(&control, 0, sizeof control);
        piece.iov_base = (void *)data;
        piece.iov_len = size;
        header.msg_name = (void *)to;
        header.msg_namelen = sizeof *to;
        header.msg_iov = &piece;
        header.msg_iovlen = 1;
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        control.align.cmsg_level = SOL_UDP;
        control.align.cmsg_type = UDP_SEGMENT;
        control.align.cmsg_len = CMSG_LEN(sizeof(uint16_t));
        memcpy(CMSG_DATA(&control.align), &value, sizeof value);
        return (long)sendmsg(fd, &header, MSG_DONTWAIT);
    }

    static long plexo_send_batch(int fd, const struct sockaddr_in *to, const unsigned char *data, size_t size,
                                 size_t segment) {
        struct mmsghdr headers[PLEXO_SEND_BATCH];
        struct iovec pieces[PLEXO_SEND_BATCH];
        int count = 0, i, done;
        size_t at = 0, taken = 0;
        while (at < size && count < PLEXO_SEND_BATCH) {
            memset(&headers[count], 0, sizeof headers[count]);
            pieces[count].iov_base = (void *)(data + at);
            pieces[count].iov_len = size - at < segment ? size - at : segment;
            headers[count].msg_hdr.msg_name = (void *)to;
            headers[count].msg_hdr.msg_namelen = sizeof *to;
            headers[count].msg_hdr.msg_iov = &pieces[count];
            headers[count].msg_hdr.msg_iovlen = 1;
            at += pieces[count].iov_len;
            count++;
        }
        done = sendmmsg(fd, headers, (unsigned)count, MSG_DONTWAIT);
        if (done < 0)
            return -1;
        for (i = 0; i < done; i++)
            taken += pieces[i].iov_len;
        return (long)taken;
    }
    #endif

    static long plexo_send_one(int fd, const struct sockaddr_in *to, const unsigned char *data, size_t size) {
        return (long)sendto(fd, (const char *)data, (plexo_length)size, 0, (const struct sockaddr *)to, sizeof *to) < 0
            ? -1 : (long)size;
    }

    /* Bytes taken, whole datagrams; 0: nothing goes now; -1: errno. */
    static long plexo_send_run(int fd, uint32_t host, uint16_t port, const unsigned char *data, size_t size,
                               size_t segment, int *divides) {
        struct sockaddr_in to;
        long taken;
        int tries, error;
        memset(&to, 0, sizeof to);
        to.sin_family = AF_INET;
        to.sin_addr.s_addr = htonl(host);
        to.sin_port = htons(port);
        for (tries = 0; tries < PLEXO_TRIES; tries++) {
    #ifdef __linux__
            size_t most = segment <= PLEXO_LARGEST / 2 ? PLEXO_LARGEST / segment : 1;
            int divided = *divides && size > segment && most > 1;
            if (most > PLEXO_SEND_BATCH)
                most = PLEXO_SEND_BATCH;
            if (divided)
                taken = plexo_send_divided(fd, &to, data, size < most * segment ? size : most * segment, segment);
            else if (size > segment)
                taken = plexo_send_batch(fd, &to, data, size, segment);
            else
                taken = plexo_send_one(fd, &to, data, size);
    #else
            taken = plexo_send_one(fd, &to, data, size < segment ? size : segment);
    #endif
            if (taken >= 0)
                return taken;
            error = plexo_error();
    #ifdef __linux__
            if (divided && (error == EINVAL || error == EIO || error == EMSGSIZE || error == EOPNOTSUPP)) {
                /* Not this kernel, or segments above the MTU, or not this way out: one by one from now on. */
                *divides = 0;
                continue;
            }
    #endif
            if (error == EAGAIN || error == ENOBUFS)
                return 0;
            if (error != EINTR && error != ECONNREFUSED) {
                errno = error;
                return -1;
            }
        }
        return 0;
    }
    """
    ctypedef struct plexo_datagram:
        pass
    void *plexo_reader_new()
    void plexo_reader_free(void *state)
    int plexo_fill(void *state, int fd, plexo_datagram *found)
    long plexo_send_run(int fd, uint32_t host, uint16_t port, const uint8_t *data, size_t size, size_t segment,
                        int *divides)

# For the documents and tests.
MAX_READ = BATCH
ROOM = ROOM_BYTES
MAX_SENT = SEND_BATCH
LARGEST = LARGEST_BYTES


cdef class DatagramReader:
    """Room for a batch of datagrams, and what the last `fill` found: good until the next. The room is made once."""

    def __cinit__(self):
        self.datagrams = <Datagram *>calloc(BATCH, sizeof(Datagram))
        self.state = plexo_reader_new()
        if self.datagrams == NULL or self.state == NULL:
            raise MemoryError(f"no memory for {BATCH} datagrams")

    def __dealloc__(self):
        free(self.datagrams)
        plexo_reader_free(self.state)

    cdef int fill(self, int fd) except -1:
        cdef int count = plexo_fill(self.state, fd, <plexo_datagram *>self.datagrams)
        if count < 0:
            PyErr_SetFromErrno(OSError)
        return count

    def read(self, int fd):
        """(bytes, segment, host, port, truncated) of each of the next batch. Raises OSError."""
        cdef int i
        return [(PyBytes_FromStringAndSize(<const char *>self.datagrams[i].data, <Py_ssize_t>self.datagrams[i].size),
                 self.datagrams[i].segment, self.datagrams[i].host, self.datagrams[i].port,
                 bool(self.datagrams[i].truncated)) for i in range(self.fill(fd))]


cdef class DatagramWriter:
    """Sends datagrams that lie one behind another; remembers whether the system divides them itself."""

    def __init__(self, bint divides=True):
        self.divides = divides

    cdef Py_ssize_t send_run(self, int fd, uint32_t host, uint16_t port, const uint8_t *data, size_t size,
                             size_t segment) except -1:
        cdef int divides = self.divides
        cdef long taken = -1
        if segment == 0:
            raise ValueError("segment: expected at least 1 byte, got 0")
        taken = plexo_send_run(fd, host, port, data, size, segment, &divides)
        self.divides = divides
        if taken < 0:
            PyErr_SetFromErrno(OSError)
        return <Py_ssize_t>taken

    def send(self, int fd, uint32_t host, uint16_t port, bytes data not None, size_t segment):
        """`send_run` of bytes."""
        return self.send_run(fd, host, port, <const uint8_t *>PyBytes_AS_STRING(data), <size_t>len(data), segment)
