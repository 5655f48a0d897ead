// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Synchronization
public import Wire

extension UDPSocket {
    /// Sends packets to one address, from any thread and in order. What the kernel has no room for waits in a bounded
    /// backlog, past that it is dropped and counted: UDP promises no more. `source` is the local address to send from
    /// where the socket is bound to all of them.
    public func send(_ packets: borrowing PacketBuffer, to destination: SocketAddress, from source: IPAddress? = nil) {
        guard !packets.isEmpty else { return }
        let ends = packets.packetEnds
        packets.withUnsafeBytes { send($0, ends: ends, to: destination, from: source) }
    }

    /// Sends one packet.
    public func send(_ packet: RawSpan, to destination: SocketAddress, from source: IPAddress? = nil) {
        guard packet.byteCount > 0 else { return }
        packet.withUnsafeBytes { send($0, ends: [$0.count], to: destination, from: source) }
    }

    /// Sends one packet that passes so many routers at most, if the kernel has room for it.
    public func send(_ packet: RawSpan, to destination: SocketAddress, hopLimit: UInt8) {
        packet.withUnsafeBytes { bytes in
            state.withLock { state in
                guard !bytes.isEmpty, !state.isClosed, destination.ip.family == localAddress.ip.family,
                    state.backlog.isEmpty
                else {
                    state.statistics.sendDrops += 1
                    return
                }
                let setup = SocketSetup(descriptor: descriptor)
                let option = destination.ip.family == .v6 ? SocketSetup.Option.hopsV6 : .hopsV4
                guard setup.attempt(option, Int32(hopLimit)) else { return }
                _ = state.transmit(descriptor, bytes, ends: [bytes.count], from: 0, to: destination, source: nil)
                setup.attempt(option, SocketSetup.defaultHops)
            }
        }
    }

    /// Sends one datagram without any payload, if the kernel has room for it.
    public func sendEmpty(to destination: SocketAddress, from source: IPAddress? = nil) {
        withUnsafeBytes(of: UInt8(0)) { byte in
            let nothing = UnsafeRawBufferPointer(rebasing: byte[..<0])
            state.withLock { state in
                guard !state.isClosed, destination.ip.family == localAddress.ip.family, state.backlog.isEmpty else {
                    state.statistics.sendDrops += 1
                    return
                }
                _ = state.transmit(descriptor, nothing, ends: [0], from: 0, to: destination, source: source)
            }
        }
    }

    /// Whether routers may fragment what is sent from now on.
    public func setFragments(allowed: Bool) {
        state.withLock { state in
            guard !state.isClosed else { return }
            SocketSetup(descriptor: descriptor).setFragments(allowed: allowed, isV6: localAddress.ip.family == .v6)
        }
    }

    private func send(
        _ bytes: UnsafeRawBufferPointer, ends: [Int], to destination: SocketAddress, from source: IPAddress?
    ) {
        state.withLock { state in
            guard !state.isClosed, destination.ip.family == localAddress.ip.family else {
                state.statistics.sendDrops += ends.count
                return
            }
            state.loop?.countTraffic(bytes.count)
            // Behind a backlog packets queue up; without a loop nobody but the next sender empties it.
            if !state.backlog.isEmpty, state.registration == nil { flush(&state) }
            var next = 0
            if state.backlog.isEmpty {
                next = state.transmit(descriptor, bytes, ends: ends, from: 0, to: destination, source: source)
                if next < ends.count { state.registration?.update([.readable, .writable]) }
            }
            guard next < ends.count else { return }
            let kept = state.backlog.append(bytes, ends: ends, from: next, to: destination, source: source)
            state.statistics.packetsDelayed += kept
            state.statistics.sendDrops += ends.count - next - kept
        }
    }

    /// Sends what waits, when the kernel has room again.
    func flushBacklog() {
        state.withLock { state in
            guard !state.isClosed else { return }
            flush(&state)
            if state.backlog.isEmpty { state.registration?.update(.readable) }
        }
    }

    private func flush(_ state: inout State) {
        var backlog = state.backlog
        state.backlog = SendBacklog(capacity: backlog.capacity)
        backlog.flush { entry in
            entry.bytes.withUnsafeBytes {
                state.transmit(
                    descriptor, $0, ends: entry.ends, from: entry.next, to: entry.destination, source: entry.source)
            }
        }
        state.backlog = backlog
    }
}

extension UDPSocket.State {
    /// Hands packets to the kernel; answers the index of the first that it had no room for.
    mutating func transmit(
        _ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, ends: [Int], from first: Int,
        to destination: SocketAddress, source: IPAddress?
    ) -> Int {
        guard let base = bytes.baseAddress else { return ends.count }
        var to = cnetio_address(destination)
        var local = cnetio_address(source ?? .anyV4)
        let capacity = Int(CNETIO_SEND_BATCH)
        return withUnsafeTemporaryAllocation(of: cnetio_train.self, capacity: capacity) { trains in
            var next = first
            // Packets before this index go one by one, because the kernel refused the train they were in.
            var singlesEnd = first
            var refusal: Int32 = 0
            var reports = takesReports ? SendTrain.maximumReports : 0
            while next < ends.count {
                var count = 0
                var cursor = next
                while cursor < ends.count, count < capacity {
                    let start = cursor == 0 ? 0 : ends[cursor - 1]
                    let end = segmentation && cursor >= singlesEnd ? SendTrain.end(ends, from: cursor) : cursor + 1
                    let segment = end - cursor > 1 ? UInt16(truncatingIfNeeded: ends[cursor] - start) : 0
                    trains[count] = cnetio_train(base: base + start, length: ends[end - 1] - start, segment: segment)
                    count += 1
                    cursor = end
                }
                statistics.sendCalls += 1
                let sent = withUnsafePointer(to: &local) {
                    Int(cnetio_send(descriptor, &to, source == nil ? nil : $0, trains.baseAddress, UInt32(count)))
                }
                let code = errno
                if sent > 0 {
                    // That single packets pass where a train did not is the kernel's word on segmentation.
                    if next < singlesEnd, refusal != EMSGSIZE { segmentation = false }
                    let last = trains[sent - 1]
                    let end = last.base - base + last.length
                    let start = next == 0 ? 0 : ends[next - 1]
                    let previous = next
                    while next < ends.count, ends[next] <= end { next += 1 }
                    statistics.packetsSent += next - previous
                    statistics.bytesSent += end - start
                    continue
                }
                switch code {
                case EINTR:
                    continue
                case EAGAIN:
                    return next
                case EMSGSIZE where reports == SendTrain.maximumReports,
                    _ where reports > 0 && SendTrain.mayReport.contains(code):
                    // Likely what ICMP said of a datagram sent before, perhaps to somebody else: the call took that
                    // word.
                    reports -= 1
                case _ where trains[0].segment != 0 && SendTrain.mayRefuse.contains(code):
                    refusal = code
                    singlesEnd = SendTrain.end(ends, from: next)
                default:
                    // ICMP errors, missing routes, firewalls: the datagrams are lost as they might be further on.
                    let end = trains[0].segment == 0 ? next + 1 : SendTrain.end(ends, from: next)
                    statistics.sendErrors += end - next
                    next = end
                }
            }
            return next
        }
    }
}

/// Which packets may leave together.
enum SendTrain {
    /// What the kernel answers where a route or device cannot segment (EIO, EOPNOTSUPP), or where segments exceed the
    /// MTU (EMSGSIZE, and EINVAL in older versions).
    static let mayRefuse: Set<Int32> = [EINVAL, EIO, EOPNOTSUPP, EMSGSIZE]
    /// What a call may answer that means an earlier datagram, where ICMP errors are asked for (IP_RECVERR, ip(7)): all
    /// that the kernel makes of them (`icmp_err_convert` in net/ipv4/icmp.c, `icmpv6_err_convert` in net/ipv6/icmp.c).
    /// EMSGSIZE is another one, and more often the call's own.
    static let mayReport: Set<Int32> = [
        ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET, EACCES,
    ]
    /// How many such answers are passed over for one send.
    static let maximumReports = 4
    /// UDP_MAX_SEGMENTS of Linux before 6.9 (linux/udp.h).
    static let maximumPackets = 64
    /// What fits one IPv4 datagram, 65,535 bytes with 28 of headers (RFC 791, RFC 768), with some room to spare.
    static let maximumBytes = 65_000

    /// The index behind the longest train that starts with packet `first`: packets of its size, then at most one
    /// shorter.
    static func end(_ ends: [Int], from first: Int) -> Int {
        let start = first == 0 ? 0 : ends[first - 1]
        let size = ends[first] - start
        var next = first + 1
        while next < ends.count, next - first < maximumPackets, ends[next] - start <= maximumBytes {
            let length = ends[next] - ends[next - 1]
            guard length <= size else { break }
            next += 1
            guard length == size else { break }
        }
        return next
    }
}
