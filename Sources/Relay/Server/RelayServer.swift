// SPDX-License-Identifier: Apache-2.0
public import DTLS
internal import Glibc
public import NetIO
public import Wire

/// A STUN and TURN server on real sockets: one thread with a core of its own for each processor that is to work, which
/// share the listening ports, the relayed ports and the quotas.
public final class RelayServer: Sendable {
    /// What a server listens at, and how it behaves.
    public struct Configuration: Sendable {
        /// How the cores behave. Their addresses for NAT behaviour, own addresses and wall clock are filled in.
        public var relay: RelayConfiguration
        /// Where to listen for datagrams. Two addresses with the same two ports each make a server that tells NATs'
        /// behaviour.
        public var udp: [SocketAddress] = []
        /// Where to listen for streams.
        public var tcp: [SocketAddress] = []
        /// Where to listen for encrypted streams; needs ``tlsContext``.
        public var tls: [SocketAddress] = []
        /// The certificate that encrypted streams show.
        public var tlsContext: TLSContext?
        /// How many threads.
        public var loops = 2

        /// A server that behaves so and listens nowhere yet.
        public init(_ relay: RelayConfiguration) {
            self.relay = relay
        }
    }

    /// Where datagrams are taken, ports known, in the order of the configuration.
    public let udpAddresses: [SocketAddress]
    /// Where streams are taken.
    public let tcpAddresses: [SocketAddress]
    /// Where encrypted streams are taken.
    public let tlsAddresses: [SocketAddress]
    private let shards: [RelayShard]
    /// Learns of addresses that the host gets later.
    private let monitor: NetworkMonitor?

    /// Binds all sockets and starts.
    public init(_ configuration: Configuration) throws(NetIOError) {
        Self.raiseDescriptorLimit()
        var relay = configuration.relay
        relay.unixTimeAtZero = Int64(time(nil)) - MonotonicClock.now.nanoseconds / 1_000_000_000
        var udp: [SocketAddress] = []
        var listeners: [[UDPSocket]] = []
        let count = max(configuration.loops, 1)
        for address in configuration.udp {
            var options = UDPSocket.Options()
            options.sharesPort = count > 1
            var sockets = [try UDPSocket(bind: address, options: options)]
            let bound = sockets[0].localAddress
            for _ in 1..<count { sockets.append(try UDPSocket(bind: bound, options: options)) }
            udp.append(bound)
            listeners.append(sockets)
        }
        if relay.discovery == nil { relay.discovery = Self.discovery(udp) }
        relay.ownAddresses += (udp + configuration.tcp + configuration.tls).map(\.ip.withoutScope)
        let said = Set(relay.ownAddresses)
        relay.ownAddresses += try NetworkInterface.everyAddress()

        var entropy = SystemEntropy.make()
        let ledger = RelayLedger(configuration: relay, entropy: entropy.split())
        var shards: [RelayShard] = []
        for index in 0..<count {
            let core = RelayCore(configuration: relay, ledger: ledger, entropy: entropy.split())
            shards.append(try RelayShard(core, ledger, listeners: listeners.map { $0[index] }, index: index))
        }
        var monitor: NetworkMonitor?
        // Streams are for the last thread; what they carry is little beside datagrams.
        let last = shards[count - 1]
        var tcp: [SocketAddress] = []
        var tls: [SocketAddress] = []
        do throws(NetIOError) {
            for shard in shards { try shard.start() }
            // Without an answer the addresses of before stay: better than none.
            monitor = try NetworkMonitor(on: shards[0].loop) {
                guard let now = try? NetworkInterface.everyAddress() else { return }
                ledger.setOwnAddresses(now.union(said))
            }
            for address in configuration.tcp { tcp.append(try last.listen(address, context: nil)) }
            if let context = configuration.tlsContext {
                for address in configuration.tls { tls.append(try last.listen(address, context: context)) }
            }
        } catch {
            monitor?.close()
            for shard in shards { shard.stop() }
            throw error
        }
        self.monitor = monitor
        udpAddresses = udp
        tcpAddresses = tcp
        tlsAddresses = tls
        self.shards = shards
    }

    deinit { stop() }

    /// What all threads have done so far and hold now.
    public func metrics() async -> RelayMetrics {
        var sum = RelayMetrics()
        for shard in shards { sum = sum + (await shard.metrics()) }
        return sum
    }

    /// Closes all sockets, and with them all allocations. Repeated calls are harmless.
    public func stop() {
        monitor?.close()
        for shard in shards { shard.stop() }
    }

    /// The four ends of a server that tells NATs' behaviour, if the sockets have two addresses with two ports each.
    static func discovery(_ udp: [SocketAddress]) -> RelayConfiguration.BehaviorDiscovery? {
        for family in [IPAddress.Family.v4, .v6] {
            let ends = udp.filter { $0.ip.family == family && !$0.ip.isUnspecified }
            var addresses: [IPAddress] = []
            var ports: [UInt16] = []
            for end in ends {
                if !addresses.contains(end.ip) { addresses.append(end.ip) }
                if !ports.contains(end.port) { ports.append(end.port) }
            }
            let isComplete = addresses.allSatisfy { ip in
                ports.allSatisfy { ends.contains(SocketAddress(ip: ip, port: $0)) }
            }
            if isComplete, let discovery = RelayConfiguration.BehaviorDiscovery(addresses: addresses, ports: ports) {
                return discovery
            }
        }
        return nil
    }

    /// Each allocation takes a descriptor: as many as this process may have. The corresponding C function is
    /// `setrlimit`.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
    }
}
