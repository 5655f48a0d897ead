// SPDX-License-Identifier: Apache-2.0
// Wrappers for what Swift cannot import: network namespaces, TUN devices (ioctls with unions in struct ifreq) and waiting
// with nanoseconds. Calls answer -1 with errno set where they fail.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Moves the calling thread into a new network namespace.
static inline int cnatlab_unshare_network(void) { return (int)syscall(SYS_unshare, CLONE_NEWNET); }

// Moves the calling thread into a network namespace.
static inline int cnatlab_enter_network(int fd) { return (int)syscall(SYS_setns, fd, CLONE_NEWNET); }

// The network namespace of the calling thread.
static inline int cnatlab_open_network(void) { return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }

static inline void cnatlab_name(struct ifreq *request, const char *name) {
    memset(request, 0, sizeof *request);
    strncpy(request->ifr_name, name, IFNAMSIZ - 1);
}

static inline int cnatlab_make_device(const char *name, short kind) {
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -1;
    struct ifreq request;
    cnatlab_name(&request, name);
    request.ifr_flags = kind | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, &request) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

// Makes a TUN device in the namespace of the calling thread: bare IP packets, no offloads, so that what is read and written
// is what a wire would carry. It goes with its descriptor.
static inline int cnatlab_make_tun(const char *name) { return cnatlab_make_device(name, IFF_TUN); }

// The same with Ethernet frames.
static inline int cnatlab_make_tap(const char *name) { return cnatlab_make_device(name, IFF_TAP); }

static inline int cnatlab_set_address(int socket, unsigned long call, struct ifreq *request, uint32_t address) {
    struct sockaddr_in in;
    memset(&in, 0, sizeof in);
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(address);
    memcpy(&request->ifr_addr, &in, sizeof in);
    return ioctl(socket, call, request);
}

// Gives an interface in the namespace of the calling thread an IPv4 address (host order; 0 for none), an MTU, a queue of so
// many packets, and sets it up. The queue keeps its usual length where the kernel wants the host's own root for a change.
static inline int cnatlab_configure(const char *name, uint32_t address, uint32_t mask, int mtu, int queue) {
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0) return -1;
    struct ifreq request;
    int result = 0;
    if (mtu > 0) {
        cnatlab_name(&request, name);
        request.ifr_mtu = mtu;
        result = ioctl(socket_fd, SIOCSIFMTU, &request);
    }
    if (result == 0 && queue > 0) {
        cnatlab_name(&request, name);
        request.ifr_qlen = queue;
        (void)ioctl(socket_fd, SIOCSIFTXQLEN, &request);
    }
    if (result == 0 && address != 0) {
        cnatlab_name(&request, name);
        result = cnatlab_set_address(socket_fd, SIOCSIFADDR, &request, address);
        if (result == 0) result = cnatlab_set_address(socket_fd, SIOCSIFNETMASK, &request, mask);
    }
    if (result == 0) {
        cnatlab_name(&request, name);
        result = ioctl(socket_fd, SIOCGIFFLAGS, &request);
        request.ifr_flags |= IFF_UP;
        if (result == 0) result = ioctl(socket_fd, SIOCSIFFLAGS, &request);
    }
    int error = errno;
    close(socket_fd);
    errno = error;
    return result;
}

// The state of an interface in the namespace of the calling thread (RFC 2863's ifOperStatus as linux/if.h numbers it: 0
// unknown, 6 up).
static inline int cnatlab_interface_state(const char *name) {
    struct {
        struct nlmsghdr header;
        struct ifinfomsg interface;
        char attributes[64];
    } request;
    char answer[8192] __attribute__((aligned(8)));
    memset(&request, 0, sizeof request);
    size_t length = strlen(name) + 1;
    if (length > IFNAMSIZ) length = IFNAMSIZ;
    struct rtattr *attribute = (struct rtattr *)request.attributes;
    attribute->rta_type = IFLA_IFNAME;
    attribute->rta_len = (unsigned short)RTA_LENGTH(length);
    memcpy(RTA_DATA(attribute), name, length - 1);
    request.header.nlmsg_len = NLMSG_LENGTH(sizeof request.interface) + RTA_ALIGN(attribute->rta_len);
    request.header.nlmsg_type = RTM_GETLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return -1;
    ssize_t count = send(fd, &request, request.header.nlmsg_len, 0);
    if (count >= 0) count = recv(fd, answer, sizeof answer, 0);
    close(fd);
    struct nlmsghdr *header = (struct nlmsghdr *)answer;
    if (count < 0 || !NLMSG_OK(header, (unsigned)count)) return -1;
    if (header->nlmsg_type != RTM_NEWLINK) {
        errno = ENODEV;
        return -1;
    }
    int rest = (int)IFLA_PAYLOAD(header);
    for (attribute = IFLA_RTA(NLMSG_DATA(header)); RTA_OK(attribute, rest); attribute = RTA_NEXT(attribute, rest))
        if (attribute->rta_type == IFLA_OPERSTATE) return *(unsigned char *)RTA_DATA(attribute);
    return 0;
}

static inline int cnatlab_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

// Waits until one of three descriptors (-1 for none) is readable, a signal comes, or so many nanoseconds are over (negative:
// for ever).
static inline void cnatlab_wait(int first, int second, int wake, int64_t nanoseconds) {
    struct pollfd wanted[3] = {{first, POLLIN, 0}, {second, POLLIN, 0}, {wake, POLLIN, 0}};
    int64_t limit[2] = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    syscall(SYS_ppoll, wanted, 3, nanoseconds < 0 ? NULL : limit, NULL, (size_t)8);
}

// Has the calling thread woken as soon as its time is over, not up to 50 µs later (prctl(2), PR_SET_TIMERSLACK).
static inline void cnatlab_exact_timers(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }

// A pipe, and a file without a name, that programs started at the same time do not inherit.
static inline int cnatlab_pipe(int ends[2]) { return (int)syscall(SYS_pipe2, ends, O_CLOEXEC); }
static inline int cnatlab_memory_file(void) { return (int)syscall(SYS_memfd_create, "lab", 1U /* MFD_CLOEXEC */); }
