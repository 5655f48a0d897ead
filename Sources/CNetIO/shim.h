// SPDX-License-Identifier: Apache-2.0
// Wrappers for the parts of glibc that Swift cannot import: control messages (the CMSG_* macros), the message vectors of
// sendmmsg(2) and recvmmsg(2), and the packed unions of epoll(7). Addresses cross as plain numbers in host order.
#pragma once
#include <endian.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Swift compiles glibc's headers without _GNU_SOURCE, so what stands behind it is declared here under names of our own:
// struct mmsghdr, struct in6_pktinfo (RFC 3542 section 6.1) and the kernel's timespec.
struct cnetio_mmsghdr {
    struct msghdr msg_hdr;
    unsigned int msg_len;
};

struct cnetio_in6_pktinfo {
    unsigned char address[16];
    unsigned int interface;
};

struct cnetio_timespec {
    int64_t seconds;
    int64_t nanoseconds;
};

// An IP address with a port. `low` alone holds an IPv4 address.
struct cnetio_address {
    uint64_t high;
    uint64_t low;
    uint32_t scope;
    uint16_t port;
    uint8_t is_v6;
};

// One sendmmsg(2) entry: `length` bytes at `base`, cut by the kernel every `segment` bytes (0: not at all).
struct cnetio_train {
    const void *base;
    size_t length;
    uint16_t segment;
};

// One recvmmsg(2) entry: `length` bytes that hold datagrams of `segment` bytes each, the last one perhaps shorter.
// `length` is -1 where the kernel had to cut the data. `local` has no port.
struct cnetio_received {
    struct cnetio_address from;
    struct cnetio_address local;
    int64_t length;
    int32_t segment;
};

enum {
    CNETIO_SEND_BATCH = 32,
    CNETIO_RECEIVE_BATCH = 16,
    CNETIO_EVENT_BATCH = 64,
    CNETIO_READABLE = 1,
    CNETIO_WRITABLE = 2,
    CNETIO_FAILED = 4,
    CNETIO_EDGE = 4,
    CNETIO_UDP_SEGMENT = UDP_SEGMENT,
    CNETIO_UDP_GRO = UDP_GRO,
};

static inline socklen_t cnetio_to_sockaddr(const struct cnetio_address *from, struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from->is_v6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htobe16(from->port);
        in6->sin6_scope_id = from->scope;
        uint64_t halves[2] = {htobe64(from->high), htobe64(from->low)};
        memcpy(&in6->sin6_addr, halves, 16);
        return sizeof *in6;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)to;
    in->sin_family = AF_INET;
    in->sin_port = htobe16(from->port);
    in->sin_addr.s_addr = htobe32((uint32_t)from->low);
    return sizeof *in;
}

static inline void cnetio_set_v6(struct cnetio_address *to, const void *bytes) {
    uint64_t halves[2];
    memcpy(halves, bytes, 16);
    to->is_v6 = 1;
    to->high = be64toh(halves[0]);
    to->low = be64toh(halves[1]);
}

// Answers 0 for a family that is neither IPv4 nor IPv6.
static inline int cnetio_from_sockaddr(const struct sockaddr *from, struct cnetio_address *to) {
    memset(to, 0, sizeof *to);
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        to->low = be32toh(in->sin_addr.s_addr);
        to->port = be16toh(in->sin_port);
        return 1;
    }
    if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
        cnetio_set_v6(to, &in6->sin6_addr);
        to->port = be16toh(in6->sin6_port);
        to->scope = in6->sin6_scope_id;
        return 1;
    }
    return 0;
}

static inline int cnetio_bind(int fd, const struct cnetio_address *address) {
    struct sockaddr_storage storage;
    socklen_t length = cnetio_to_sockaddr(address, &storage);
    return bind(fd, (const struct sockaddr *)&storage, length);
}

static inline int cnetio_connect(int fd, const struct cnetio_address *address) {
    struct sockaddr_storage storage;
    socklen_t length = cnetio_to_sockaddr(address, &storage);
    return connect(fd, (const struct sockaddr *)&storage, length);
}

static inline int cnetio_local_address(int fd, struct cnetio_address *address) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &length) != 0) return -1;
    return cnetio_from_sockaddr((const struct sockaddr *)&storage, address) ? 0 : -1;
}

// Sends up to CNETIO_SEND_BATCH trains to one address; `local`, unless NULL, is the source address to use. Answers how
// many trains left, or -1 with errno set where the first did not.
static inline int cnetio_send(
    int fd, const struct cnetio_address *to, const struct cnetio_address *local, const struct cnetio_train *trains,
    unsigned count) {
    struct sockaddr_storage name;
    struct cnetio_mmsghdr messages[CNETIO_SEND_BATCH];
    struct iovec vectors[CNETIO_SEND_BATCH];
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(struct cnetio_in6_pktinfo))];
        struct cmsghdr align;
    } control[CNETIO_SEND_BATCH];
    if (count > CNETIO_SEND_BATCH) count = CNETIO_SEND_BATCH;
    socklen_t name_length = cnetio_to_sockaddr(to, &name);
    for (unsigned i = 0; i < count; i++) {
        vectors[i].iov_base = (void *)trains[i].base;
        vectors[i].iov_len = trains[i].length;
        struct msghdr *header = &messages[i].msg_hdr;
        memset(header, 0, sizeof *header);
        header->msg_name = &name;
        header->msg_namelen = name_length;
        header->msg_iov = &vectors[i];
        header->msg_iovlen = 1;
        size_t used = 0;
        if (trains[i].segment != 0) {
            struct cmsghdr *entry = (struct cmsghdr *)(void *)control[i].bytes;
            entry->cmsg_level = IPPROTO_UDP;
            entry->cmsg_type = UDP_SEGMENT;
            entry->cmsg_len = CMSG_LEN(sizeof(uint16_t));
            memcpy(CMSG_DATA(entry), &trains[i].segment, sizeof(uint16_t));
            used = CMSG_SPACE(sizeof(uint16_t));
        }
        if (local != NULL) {
            struct cmsghdr *entry = (struct cmsghdr *)(void *)(control[i].bytes + used);
            if (local->is_v6) {
                struct cnetio_in6_pktinfo info;
                memset(&info, 0, sizeof info);
                uint64_t halves[2] = {htobe64(local->high), htobe64(local->low)};
                memcpy(info.address, halves, 16);
                info.interface = local->scope;
                entry->cmsg_level = IPPROTO_IPV6;
                entry->cmsg_type = IPV6_PKTINFO;
                entry->cmsg_len = CMSG_LEN(sizeof info);
                memcpy(CMSG_DATA(entry), &info, sizeof info);
                used += CMSG_SPACE(sizeof info);
            } else {
                struct in_pktinfo info;
                memset(&info, 0, sizeof info);
                info.ipi_spec_dst.s_addr = htobe32((uint32_t)local->low);
                entry->cmsg_level = IPPROTO_IP;
                entry->cmsg_type = IP_PKTINFO;
                entry->cmsg_len = CMSG_LEN(sizeof info);
                memcpy(CMSG_DATA(entry), &info, sizeof info);
                used += CMSG_SPACE(sizeof info);
            }
        }
        if (used != 0) {
            header->msg_control = control[i].bytes;
            header->msg_controllen = used;
        }
    }
    return (int)syscall(SYS_sendmmsg, fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Receives up to CNETIO_RECEIVE_BATCH messages, the i-th into `buffers + i * stride`. Answers how many, or -1 with
// errno set.
static inline int cnetio_receive(
    int fd, void *buffers, size_t stride, struct cnetio_received *received, unsigned count) {
    struct cnetio_mmsghdr messages[CNETIO_RECEIVE_BATCH];
    struct iovec vectors[CNETIO_RECEIVE_BATCH];
    struct sockaddr_storage names[CNETIO_RECEIVE_BATCH];
    union {
        char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct cnetio_in6_pktinfo))];
        struct cmsghdr align;
    } control[CNETIO_RECEIVE_BATCH];
    if (count > CNETIO_RECEIVE_BATCH) count = CNETIO_RECEIVE_BATCH;
    for (unsigned i = 0; i < count; i++) {
        vectors[i].iov_base = (char *)buffers + i * stride;
        vectors[i].iov_len = stride;
        struct msghdr *header = &messages[i].msg_hdr;
        memset(header, 0, sizeof *header);
        header->msg_name = &names[i];
        header->msg_namelen = sizeof names[i];
        header->msg_iov = &vectors[i];
        header->msg_iovlen = 1;
        header->msg_control = control[i].bytes;
        header->msg_controllen = sizeof control[i].bytes;
    }
    int arrived = (int)syscall(SYS_recvmmsg, fd, messages, count, MSG_DONTWAIT, NULL);
    for (int i = 0; i < arrived; i++) {
        struct cnetio_received *out = &received[i];
        struct msghdr *header = &messages[i].msg_hdr;
        memset(out, 0, sizeof *out);
        out->length = (header->msg_flags & MSG_TRUNC) ? -1 : (int64_t)messages[i].msg_len;
        out->segment = (int32_t)messages[i].msg_len;
        if (!cnetio_from_sockaddr((const struct sockaddr *)&names[i], &out->from)) out->length = -1;
        for (struct cmsghdr *entry = CMSG_FIRSTHDR(header); entry != NULL; entry = CMSG_NXTHDR(header, entry)) {
            if (entry->cmsg_level == IPPROTO_UDP && entry->cmsg_type == UDP_GRO) {
                memcpy(&out->segment, CMSG_DATA(entry), sizeof(int32_t));
            } else if (entry->cmsg_level == IPPROTO_IP && entry->cmsg_type == IP_PKTINFO) {
                struct in_pktinfo info;
                memcpy(&info, CMSG_DATA(entry), sizeof info);
                out->local.low = be32toh(info.ipi_addr.s_addr);
            } else if (entry->cmsg_level == IPPROTO_IPV6 && entry->cmsg_type == IPV6_PKTINFO) {
                struct cnetio_in6_pktinfo info;
                memcpy(&info, CMSG_DATA(entry), sizeof info);
                cnetio_set_v6(&out->local, info.address);
                // A zone belongs to link-local addresses alone (RFC 4007 section 6).
                if (out->local.high >> 54 == 0x3FA) out->local.scope = info.interface;
            }
        }
    }
    return arrived;
}

// What ICMP said of a datagram that was sent to `to`.
struct cnetio_error {
    struct cnetio_address to;
    uint32_t information;
    uint8_t type;
    uint8_t code;
    // How much of the datagram's payload came back with the error, and its beginning.
    uint8_t quoted_length;
    uint8_t quoted[20];
};

// The kernel's struct sock_extended_err (linux/errqueue.h).
struct cnetio_extended_error {
    uint32_t number;
    uint8_t origin;
    uint8_t type;
    uint8_t code;
    uint8_t pad;
    uint32_t information;
    uint32_t data;
};

// Takes one entry of the socket's error queue: 1 for an ICMP error, 0 for one of another kind, -1 where there is none.
static inline int cnetio_receive_error(int fd, struct cnetio_error *error) {
    struct sockaddr_storage name;
    uint8_t quoted[sizeof error->quoted];
    struct iovec vector = {quoted, sizeof quoted};
    union {
        char bytes[512];
        struct cmsghdr align;
    } control;
    struct msghdr header;
    memset(&header, 0, sizeof header);
    header.msg_name = &name;
    header.msg_namelen = sizeof name;
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof control.bytes;
    ssize_t length = recvmsg(fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (length < 0) return -1;
    memset(error, 0, sizeof *error);
    error->quoted_length = (uint8_t)length;
    memcpy(error->quoted, quoted, (size_t)length);
    if (header.msg_namelen == 0 || !cnetio_from_sockaddr((const struct sockaddr *)&name, &error->to)) return 0;
    for (struct cmsghdr *entry = CMSG_FIRSTHDR(&header); entry != NULL; entry = CMSG_NXTHDR(&header, entry)) {
        int is_v4 = entry->cmsg_level == IPPROTO_IP && entry->cmsg_type == IP_RECVERR;
        int is_v6 = entry->cmsg_level == IPPROTO_IPV6 && entry->cmsg_type == IPV6_RECVERR;
        if (!is_v4 && !is_v6) continue;
        struct cnetio_extended_error extended;
        if (entry->cmsg_len < CMSG_LEN(sizeof extended)) continue;
        memcpy(&extended, CMSG_DATA(entry), sizeof extended);
        // SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6.
        if (extended.origin != 2 && extended.origin != 3) return 0;
        error->type = extended.type;
        error->code = extended.code;
        error->information = extended.information;
        return 1;
    }
    return 0;
}

static inline int cnetio_udp_socket(int is_v6) {
    return socket(is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// rtnetlink(7): a socket that gets a message whenever an address or an interface comes or goes.
static inline int cnetio_address_monitor(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return -1;
    struct sockaddr_nl address;
    memset(&address, 0, sizeof address);
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static inline int cnetio_tcp_socket(int is_v6) {
    return socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

// accept4(2): the new descriptor and where it comes from, -1 with errno where there is none.
static inline int cnetio_accept(int fd, struct cnetio_address *from) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    // Declared by glibc for _GNU_SOURCE alone.
    int accepted = (int)syscall(SYS_accept4, fd, &storage, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (accepted >= 0 && !cnetio_from_sockaddr((const struct sockaddr *)&storage, from)) memset(from, 0, sizeof *from);
    return accepted;
}

static inline int cnetio_epoll(void) { return epoll_create1(EPOLL_CLOEXEC); }

static inline int cnetio_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

static inline ssize_t cnetio_random(void *bytes, size_t count) { return getrandom(bytes, count, 0); }

// Names the calling thread, as tools show it.
static inline void cnetio_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

// What epoll_ctl(2) and epoll_wait(2) say of one descriptor: who registered it and CNETIO_READABLE, CNETIO_WRITABLE;
// and of what came, CNETIO_FAILED.
// CNETIO_EDGE asks for edges instead of levels.
struct cnetio_event {
    uint64_t token;
    uint32_t ready;
};

static inline int cnetio_epoll_control(int epoll, int operation, int fd, uint64_t token, uint32_t interest) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = (interest & CNETIO_READABLE ? EPOLLIN : 0u) | (interest & CNETIO_WRITABLE ? EPOLLOUT : 0u)
        | (interest & CNETIO_EDGE ? EPOLLET : 0u);
    event.data.u64 = token;
    return epoll_ctl(epoll, operation, fd, &event);
}

// Waits up to `nanoseconds` (negative: for ever) with epoll_pwait2(2), where the kernel lacks it (before 5.11) to the
// next millisecond with epoll_wait(2). Errors and hang-ups count as readable and writable, so that the owner meets them
// at its next call.
static inline int cnetio_epoll_wait(int epoll, struct cnetio_event *events, int64_t nanoseconds) {
    struct epoll_event raw[CNETIO_EVENT_BATCH];
    struct cnetio_timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    int count = (int)syscall(
        SYS_epoll_pwait2, epoll, raw, CNETIO_EVENT_BATCH, nanoseconds < 0 ? NULL : &limit, NULL, (size_t)8);
    if (count < 0 && (errno == ENOSYS || errno == EPERM)) {
        int64_t milliseconds = nanoseconds < 0 ? -1 : (nanoseconds + 999999) / 1000000;
        count = epoll_wait(epoll, raw, CNETIO_EVENT_BATCH, milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds);
    }
    for (int i = 0; i < count; i++) {
        uint32_t flags = raw[i].events;
        events[i].token = raw[i].data.u64;
        events[i].ready = (flags & (EPOLLIN | EPOLLERR | EPOLLHUP) ? CNETIO_READABLE : 0u)
            | (flags & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? CNETIO_WRITABLE : 0u)
            | (flags & EPOLLERR ? CNETIO_FAILED : 0u);
    }
    return count;
}
