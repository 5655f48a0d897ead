// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

/// Finds out by real sockets what a NAT of a kernel network does. Each question is asked from a fresh port, for what
/// one sends opens what another asks about; and what is not to arrive is followed by something that is, so that nobody
/// waits.
struct NATMeasurement {
    let network: KernelNetwork
    /// The server's sockets: first address and port, first address and second port, second address and first port.
    private let servers: [NamespaceSocket]

    init(_ network: KernelNetwork) throws {
        self.network = network
        servers = try [(0, 3478), (0, 3479), (1, 3478)].map {
            try NamespaceSocket(at: network.server, address: $0.0, port: $0.1)
        }
    }

    /// The external address of a socket toward one of the server's; `nil` where nothing arrives.
    func mapped(_ socket: NamespaceSocket, toward server: Int = 0, within limit: Duration = .seconds(2))
        -> SocketAddress?
    {
        socket.send([1], to: servers[server].local)
        return servers[server].receive(within: limit)?.source
    }

    /// Has one of the server's sockets send to an address.
    func send(_ bytes: [UInt8], from server: Int, to target: SocketAddress) { servers[server].send(bytes, to: target) }

    /// The next datagram at one of the server's sockets.
    func receive(at server: Int) -> NamespaceSocket.Datagram? { servers[server].receive() }

    /// The address of one of the server's sockets.
    func address(_ server: Int) -> SocketAddress { servers[server].local }

    /// What a mapping depends on, by the external addresses toward three others. Where a NAT draws ports, two mappings
    /// may have the same one by chance, so that sockets are asked until one of three shows that it depends.
    func mapping(of host: KernelNetwork.Host) throws -> NATBehavior.Dependence {
        var found = NATBehavior.Dependence.endpointIndependent
        for _ in 0..<3 where found != .addressAndPortDependent {
            let socket = try NamespaceSocket(at: host)
            let seen = try servers.indices.map { try #require(mapped(socket, toward: $0)) }
            if seen[0] != seen[1] {
                found = .addressAndPortDependent
            } else if seen[0] != seen[2] {
                found = .addressDependent
            }
        }
        return found
    }

    /// What is let in, by what arrives from others at a mapping toward the first. Each is asked with a second socket
    /// where the first got nothing: an earlier mapping toward that server may have drawn the same port, and have it.
    func filtering(of host: KernelNetwork.Host) throws -> NATBehavior.Dependence {
        func arrives(from server: Int) throws -> Bool {
            try (0..<2).contains { _ in
                let socket = try NamespaceSocket(at: host)
                let external = try #require(mapped(socket))
                servers[server].send([2], to: external)
                servers[0].send([3], to: external)
                let first = try #require(socket.receive())
                return first.bytes == [2] && first.source == servers[server].local
            }
        }
        if try arrives(from: 2) { return .endpointIndependent }
        return try arrives(from: 1) ? .addressDependent : .addressAndPortDependent
    }

    /// Whether a packet reaches another host behind the same NAT at its external address, and from where it seems to
    /// come.
    func hairpin(from first: KernelNetwork.Host, to second: KernelNetwork.Host) throws -> NATProfile.Hairpinning {
        let (a, b) = (try NamespaceSocket(at: first), try NamespaceSocket(at: second))
        let (mappedA, mappedB) = (try #require(mapped(a)), try #require(mapped(b)))
        b.send([4], to: mappedA)
        a.send([5], to: mappedB)
        servers[0].send([6], to: mappedB)
        let arrival = try #require(b.receive())
        guard arrival.bytes == [5] else { return .none }
        return arrival.source == a.local ? .internalSource : .externalSource
    }
}
