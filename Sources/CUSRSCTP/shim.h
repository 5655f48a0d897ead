// SPDX-License-Identifier: Apache-2.0
// Debian's libusrsctp, and wrappers for what Swift cannot import: function pointers with variable arguments, flexible
// array members, macros over `errno`, and the checksum in hardware.
#pragma once
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <usrsctp.h>

#include "crc32c.h"

// An ordinary POSIX mutex that spins a little before it sleeps.
static inline void *cusrsctp_lock_make(void) {
    pthread_mutexattr_t attributes;
    pthread_mutex_t *mutex = (pthread_mutex_t *)malloc(sizeof(*mutex));
    pthread_mutexattr_init(&attributes);
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return mutex;
}

static inline void cusrsctp_lock(void *mutex) { pthread_mutex_lock((pthread_mutex_t *)mutex); }
static inline void cusrsctp_unlock(void *mutex) { pthread_mutex_unlock((pthread_mutex_t *)mutex); }

typedef int (*cusrsctp_output)(void *address, void *packet, size_t length, uint8_t tos, uint8_t set_df);

// usrsctp_init_nothreads without UDP encapsulation and without debug output.
static inline void cusrsctp_init(cusrsctp_output output) {
    usrsctp_init_nothreads(0, output, NULL);
}

// A one-to-one socket over AF_CONN (RFC 6458 §4) that is read with usrsctp_recvv: no callbacks.
static inline struct socket *cusrsctp_socket(void) {
    return usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
}

// An AF_CONN address is a number that usrsctp carries as a pointer and never follows.
static inline struct sockaddr_conn cusrsctp_address(uintptr_t handle, uint16_t port) {
    struct sockaddr_conn address;
    memset(&address, 0, sizeof(address));
    address.sconn_family = AF_CONN;
    address.sconn_port = (uint16_t)((port << 8) | (port >> 8));
    address.sconn_addr = (void *)handle;
    return address;
}

static inline int cusrsctp_bind(struct socket *socket, uintptr_t handle, uint16_t port) {
    struct sockaddr_conn address = cusrsctp_address(handle, port);
    return usrsctp_bind(socket, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
}

// 0, or the error; EINPROGRESS is what a socket that does not block answers.
static inline int cusrsctp_connect(struct socket *socket, uintptr_t handle, uint16_t port) {
    struct sockaddr_conn address = cusrsctp_address(handle, port);
    if (usrsctp_connect(socket, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EINPROGRESS) return 0;
    return errno;
}

static inline int cusrsctp_setsockopt(struct socket *socket, int level, int option, const void *value, size_t length) {
    return usrsctp_setsockopt(socket, level, option, value, (socklen_t)length) == 0 ? 0 : errno;
}

// Fixes the size of SCTP packets: no path MTU discovery (RFC 8831 §5 allows a conservative constant), heartbeats every
// `heartbeat` milliseconds, none with 0. On AF_CONN `mtu` counts what follows the 12-byte common header.
static inline int cusrsctp_set_path(
    struct socket *socket, uintptr_t handle, uint16_t port, uint32_t mtu, uint32_t heartbeat) {
    struct sctp_paddrparams path;
    struct sockaddr_conn address = cusrsctp_address(handle, port);
    memset(&path, 0, sizeof(path));
    memcpy(&path.spp_address, &address, sizeof(address));
    path.spp_flags = SPP_PMTUD_DISABLE | (heartbeat > 0 ? SPP_HB_ENABLE : SPP_HB_DISABLE);
    path.spp_pathmtu = mtu;
    path.spp_hbinterval = heartbeat;
    return cusrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &path, sizeof(path));
}

// Closing drops what is queued and sends ABORT at once (RFC 6458 §8.1.4).
/* DATA chunks that wait to be sent or to be acknowledged. */
static inline size_t cusrsctp_outstanding(struct socket *socket) {
    struct sctp_status status = {0};
    socklen_t length = sizeof status;
    if (usrsctp_getsockopt(socket, IPPROTO_SCTP, SCTP_STATUS, &status, &length) != 0) return 0;
    return (size_t)status.sstat_unackdata + status.sstat_penddata;
}

static inline int cusrsctp_set_linger_zero(struct socket *socket) {
    struct linger linger;
    linger.l_onoff = 1;
    linger.l_linger = 0;
    return cusrsctp_setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static inline int cusrsctp_subscribe(struct socket *socket, uint16_t type) {
    struct sctp_event event;
    memset(&event, 0, sizeof(event));
    event.se_assoc_id = SCTP_ALL_ASSOC;
    event.se_type = type;
    event.se_on = 1;
    return cusrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_EVENT, &event, sizeof(event));
}

// Sends one message whole: 0, or the error (EWOULDBLOCK where it does not fit into the send buffer now).
static inline int cusrsctp_send(
    struct socket *socket, const void *bytes, size_t length, uint16_t stream, uint32_t ppid, uint16_t flags,
    uint16_t policy, uint32_t policy_value) {
    struct sctp_sendv_spa info;
    memset(&info, 0, sizeof(info));
    info.sendv_flags = SCTP_SEND_SNDINFO_VALID;
    info.sendv_sndinfo.snd_sid = stream;
    info.sendv_sndinfo.snd_flags = flags;
    info.sendv_sndinfo.snd_ppid = __builtin_bswap32(ppid);
    if (policy != SCTP_PR_SCTP_NONE) {
        info.sendv_flags |= SCTP_SEND_PRINFO_VALID;
        info.sendv_prinfo.pr_policy = policy;
        info.sendv_prinfo.pr_value = policy_value;
    }
    if (usrsctp_sendv(socket, bytes, length, NULL, 0, &info, sizeof(info), SCTP_SENDV_SPA, 0) >= 0) return 0;
    return errno == 0 ? EIO : errno;
}

struct cusrsctp_received {
    // Bytes written; 0 at the end of the association, -1 with `error` set.
    ssize_t length;
    int error;
    uint32_t ppid;
    uint16_t stream;
    uint8_t is_notification;
    uint8_t is_end_of_message;
};

// Reads (a part of) the next message or notification.
static inline struct cusrsctp_received cusrsctp_receive(struct socket *socket, void *buffer, size_t length) {
    struct cusrsctp_received result;
    struct sctp_rcvinfo info;
    socklen_t info_length = sizeof(info);
    unsigned int info_type = 0;
    int flags = 0;
    memset(&result, 0, sizeof(result));
    errno = 0;
    result.length = usrsctp_recvv(socket, buffer, length, NULL, NULL, &info, &info_length, &info_type, &flags);
    if (result.length < 0) {
        result.error = errno;
        return result;
    }
    result.is_notification = (flags & MSG_NOTIFICATION) != 0;
    result.is_end_of_message = (flags & MSG_EOR) != 0;
    if (info_type == SCTP_RECVV_RCVINFO && !result.is_notification) {
        result.ppid = __builtin_bswap32(info.rcv_ppid);
        result.stream = info.rcv_sid;
    }
    return result;
}

// Asks for a reset of one outgoing stream (RFC 6525 §5.1.2).
static inline int cusrsctp_reset_outgoing(struct socket *socket, uint16_t stream) {
    uint8_t bytes[sizeof(struct sctp_reset_streams) + sizeof(uint16_t)];
    struct sctp_reset_streams *request = (struct sctp_reset_streams *)bytes;
    memset(bytes, 0, sizeof(bytes));
    request->srs_flags = SCTP_STREAM_RESET_OUTGOING;
    request->srs_number_streams = 1;
    memcpy(bytes + offsetof(struct sctp_reset_streams, srs_stream_list), &stream, sizeof(stream));
    return cusrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_RESET_STREAMS, bytes, sizeof(bytes));
}

// Where the list of streams stands, which is a flexible array member.
enum { cusrsctp_reset_event_list_offset = offsetof(struct sctp_stream_reset_event, strreset_stream_list) };

// Keeps freed memory instead of giving it back to the kernel, which packet-sized allocations otherwise do all the time.
static inline void cusrsctp_tune_malloc(void) {
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 128 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
}
