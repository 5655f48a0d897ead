// SPDX-License-Identifier: Apache-2.0
import Glibc
import NATLab
import NetIO
import Synchronization
import Testing
import Wire

/// Why there are no kernel paths here, said once.
private let obstacle: String? = {
    let obstacle = KernelPath.obstacle
    if let obstacle { print("skipped: \(obstacle)") }
    return obstacle
}()

/// A socket in a namespace that waits at most two seconds for a datagram.
private final class PlainSocket {
    let descriptor: Int32

    init(at end: KernelPath.End, port: UInt16) throws {
        descriptor = try end.namespace.enter { socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0) }
        var limit = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var own = PlainSocket.address(end.address, port)
        let result = PlainSocket.withSockaddr(&own) { bind(descriptor, $0, $1) }
        try #require(result == 0)
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8], to end: KernelPath.End, port: UInt16) -> Int {
        var target = PlainSocket.address(end.address, port)
        return PlainSocket.withSockaddr(&target) { sendto(descriptor, bytes, bytes.count, 0, $0, $1) }
    }

    func receive() -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return count < 0 ? nil : Array(bytes[..<count])
    }

    private static func address(_ ip: IPAddress, _ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = (ip.v4Bits ?? 0).bigEndian
        return address
    }

    private static func withSockaddr<Result>(
        _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafeBytes(of: &address) { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) { pointer in
                guard let base = pointer.baseAddress else { preconditionFailure("an address has bytes") }
                return body(base, length)
            }
        }
    }
}

@Suite("Kernel path", .serialized, .enabled(if: obstacle == nil, "no namespaces or TUN devices here"))
struct KernelPathTests {
    @Test("a datagram takes the path's delay there and back")
    func delay() throws {
        let conditions = LinkConditions(rate: 25_000_000, delay: .milliseconds(10))
        let path = try KernelPath(forward: conditions, backward: conditions)
        let near = try PlainSocket(at: path.near, port: 4000)
        let far = try PlainSocket(at: path.far, port: 4001)
        path.beginMeasurement()
        for number in 0..<5 as Range<UInt8> {
            let began = MonotonicClock.now
            #expect(near.send([number, 1], to: path.far, port: 4001) == 2)
            #expect(far.receive() == [number, 1])
            #expect(MonotonicClock.now - began >= .milliseconds(10))
            #expect(far.send([number, 2], to: path.near, port: 4000) == 2)
            #expect(near.receive() == [number, 2])
            #expect(MonotonicClock.now - began >= .milliseconds(20))
        }
        let report = path.report()
        #expect(report.forward.counters.delivered == 5 && report.backward.counters.delivered == 5)
        // 20 bytes of IPv4 header and 8 of UDP's.
        #expect(report.forward.counters.deliveredBytes == 5 * 30)
        #expect(report.missed == 0 && report.forward.refused == 0 && report.backward.refused == 0)
        #expect(report.forward.queueDelay.count >= 99, "it is looked at every millisecond")
    }

    @Test("a train is cut into datagrams before it comes to the link")
    func segmentation() throws {
        let path = try KernelPath(forward: LinkConditions(), backward: LinkConditions())
        let near = try PlainSocket(at: path.near, port: 4000)
        let far = try PlainSocket(at: path.far, port: 4001)
        // UDP_SEGMENT (udp(7)): what is sent from now on is cut every 1,200 bytes.
        var size: Int32 = 1200
        try #require(setsockopt(near.descriptor, Int32(IPPROTO_UDP), 103, &size, 4) == 0)
        let train = (0..<12_000).map { UInt8(truncatingIfNeeded: $0 / 1200) }
        let sent = near.send(train, to: path.far, port: 4001)
        // Kernels that segment only where the device computes checksums (before 6.11) refuse.
        if sent < 0 { return print("this kernel does not segment for a TUN device: error \(errno)") }
        for number in 0..<10 as Range<UInt8> {
            #expect(far.receive() == [UInt8](repeating: number, count: 1200))
        }
        #expect(path.report().forward.counters.offered == 10)
    }

    @Test("what the link loses does not arrive, and what it doubles arrives twice")
    func lossAndCopies() throws {
        let path = try KernelPath(forward: LinkConditions(duplication: 1), backward: LinkConditions(loss: .random(1)))
        let near = try PlainSocket(at: path.near, port: 4000)
        let far = try PlainSocket(at: path.far, port: 4001)
        #expect(near.send([7], to: path.far, port: 4001) == 1)
        #expect(far.receive() == [7])
        #expect(far.receive() == [7])
        #expect(far.send([8], to: path.near, port: 4000) == 1)
        // The carrier has to have met it before the weather changes.
        let limit = MonotonicClock.now + .seconds(2)
        while path.report().backward.counters.offered == 0, MonotonicClock.now < limit { sched_yield() }
        path.setConditions(forward: LinkConditions(), backward: LinkConditions())
        #expect(far.send([9], to: path.near, port: 4000) == 1)
        #expect(near.receive() == [9])
        #expect(path.report().backward.counters.lost == 1)
    }

    @Test("ends have ports of their own and do not see the host")
    func isolation() throws {
        let path = try KernelPath(forward: LinkConditions(), backward: LinkConditions())
        let one = try PlainSocket(at: path.near, port: 4000)
        let two = try PlainSocket(at: path.far, port: 4000)
        #expect(one.descriptor != two.descriptor)
        let names = try path.near.namespace.enter { try NetworkInterface.all().map(\.name) }
        #expect(Set(names) == ["lo", "near"])
    }
}

@Suite("Delay histogram")
struct DelayHistogramTests {
    @Test("mean and quantiles are those of what was noted, to the step")
    func quantiles() {
        var histogram = DelayHistogram()
        #expect(histogram.mean == .zero && histogram.quantile(0.95) == .zero)
        for milliseconds in 1...100 { histogram.record(.milliseconds(milliseconds)) }
        #expect(histogram.count == 100)
        #expect(histogram.mean == .microseconds(50_500))
        #expect(histogram.quantile(0.95) >= .milliseconds(95) && histogram.quantile(0.95) <= .microseconds(95_050))
        #expect(histogram.quantile(1) == .milliseconds(100))
        histogram.record(.seconds(100))
        histogram.record(.seconds(-1))
        #expect(histogram.longest == .seconds(100))
        #expect(histogram.quantile(0.5) <= .microseconds(51_050))
    }
}
