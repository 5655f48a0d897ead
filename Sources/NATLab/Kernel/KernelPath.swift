// SPDX-License-Identifier: Apache-2.0
import CNATLab
import Glibc
import NetIO
public import Wire

//   namespace "near"                      one thread                      namespace "far"
//   10.77.0.1 ── TUN ──read──▶ EmulatedLink (forward)  ──write──▶ TUN ── 10.77.0.2
//             ◀─write── EmulatedLink (backward) ◀──read──

/// Two network namespaces of the kernel with a path between them that behaves as asked for: real sockets and processes over
/// emulated links, also where the kernel has no netem.
///
/// Packets come out of one TUN device and, when their time has come, go into the other, carried by a thread of this process.
/// Nothing outlives it: namespaces and devices have no names that could be left behind.
public final class KernelPath: Sendable {
    /// One end: where processes run, and their address.
    public struct End: Sendable {
        /// Where processes and sockets of this end belong.
        public let namespace: NetworkNamespace
        /// Its address.
        public let address: IPAddress
    }

    /// What happened in one direction during a measurement.
    public struct Direction: Sendable {
        /// What became of the packets.
        public var counters = LinkCounters()
        /// How long a packet would have had to wait, looked at every millisecond.
        public var queueDelay = DelayHistogram()
        /// Packets that the kernel did not take at the other end.
        public var refused = 0

        /// Nothing happened yet.
        public init() {}
    }

    /// What happened during a measurement.
    public struct Report: Sendable {
        /// From the near end to the far one.
        public internal(set) var forward = Direction()
        /// From the far end to the near one.
        public internal(set) var backward = Direction()
        /// How long the measurement took.
        public internal(set) var elapsed = Duration.zero
        /// Processor time of the thread that carries the packets.
        public internal(set) var cpuTime = Duration.zero
        /// How much later than it should packets were handed over.
        public internal(set) var lateness = DelayHistogram()
        /// Packets that were dropped because the thread came too late to read them: a measurement with more than a few
        /// tells of the machine.
        public internal(set) var missed = 0

        /// Nothing happened yet.
        public init() {}
    }

    /// The end that forward packets come from.
    public let near: End
    /// The end that forward packets go to.
    public let far: End
    private let devices: (near: TUNDevice, far: TUNDevice)
    private let carrier: PacketCarrier

    /// 10.77.0.1 and 10.77.0.2: private addresses (RFC 1918), seen by nobody outside of the namespaces.
    private static let addresses: (near: UInt32, far: UInt32) = (0x0A4D_0001, 0x0A4D_0002)

    /// Makes namespaces, devices and the thread. `mtu` is that of the devices, at most 2,048.
    ///
    /// Needs CAP_SYS_ADMIN and CAP_NET_ADMIN; throws ``KernelLabError`` without them.
    public init(forward: LinkConditions, backward: LinkConditions, mtu: Int = 1500, seed: UInt64 = 1) throws {
        precondition((576...PacketSlots.slotSize).contains(mtu), "the MTU of a path is 576 to 2,048 bytes")
        near = End(namespace: try NetworkNamespace(), address: .v4(KernelPath.addresses.near))
        far = End(namespace: try NetworkNamespace(), address: .v4(KernelPath.addresses.far))
        devices = (
            try TUNDevice("near", address: KernelPath.addresses.near, mtu: mtu, in: near.namespace),
            try TUNDevice("far", address: KernelPath.addresses.far, mtu: mtu, in: far.namespace)
        )
        // TCP as a yardstick shall be bound by the path and not by the sizes of its buffers (tcp(7)). Where the kernel
        // does not let us, it has its defaults.
        for end in [near, far] {
            for (name, first) in [("rmem", 131_072), ("wmem", 65_536)] {
                try? end.namespace.enter {
                    try TUNDevice.write("4096 \(first) 67108864", to: "/proc/sys/net/ipv4/tcp_\(name)")
                }
            }
        }
        carrier = try PacketCarrier(
            near: devices.near.descriptor, far: devices.far.descriptor, forward: forward, backward: backward,
            entropy: Entropy(seed: seed))
    }

    deinit { carrier.stop() }

    /// Begins a measurement: counters and histograms start again.
    public func beginMeasurement() { carrier.beginMeasurement(missed: missed) }

    /// What happened since the measurement began, or since the path was made.
    public func report() -> Report { carrier.report(missed: missed) }

    /// Changes what the path does to packets that come in from now on.
    public func setConditions(forward: LinkConditions, backward: LinkConditions) {
        carrier.setConditions(forward: forward, backward: backward)
    }

    /// Why no path can be made here, `nil` where one can.
    public static var obstacle: String? {
        do {
            _ = try KernelPath(forward: LinkConditions(), backward: LinkConditions())
            return nil
        } catch {
            return "\(error)"
        }
    }

    private var missed: Int { devices.near.missed + devices.far.missed }
}
