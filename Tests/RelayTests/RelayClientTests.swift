// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@testable import Relay

/// Our own client against our own server, on virtual time.
@Suite("The client and the server")
struct RelayClientTests {
    /// Two clients, a server, and a network without loss or delay between them.
    private final class World {
        var host: RelayHost
        var clients: [TURNClient]
        let ends: [RelayClient]
        var now = Timestamp(nanoseconds: 1_000_000_000)
        var events: [[TURNClient.Event]]
        var received: [[(from: SocketAddress, data: [UInt8])]]
        var datagramsToPeers: [Datagram] = []

        init(_ transport: RelayClient.Transport, families: TURNServer.Families) {
            host = RelayHost(configuration: RelayBench.configuration(), entropy: Entropy(seed: 1))
            ends = [RelayBench.client(1, transport), RelayBench.client(2, transport)]
            clients = ends.enumerated().map { index, _ in
                let server = TURNServer(
                    address: RelayBench.server, transport: transport == .udp ? .udp : .tcp,
                    credentials: RelayBench.alice, families: families)
                return TURNClient(server: server, entropy: Entropy(seed: UInt64(10 + index)))
            }
            events = [[], []]
            received = [[], []]
            for index in 0..<2 {
                clients[index].start(now: now)
                clients[index].connected(now: now)
            }
            run()
        }

        /// Passes everything on until nobody has anything more to say.
        func run() {
            var isBusy = true
            while isBusy {
                isBusy = false
                for index in clients.indices {
                    draining: while true {
                        switch clients[index].nextOutput() {
                        case .transmit(let bytes):
                            isBusy = true
                            if ends[index].isStream {
                                let isSound = host.receive(bytes.span.bytes, onStreamOf: ends[index], now: now)
                                #expect(isSound)
                            } else {
                                host.receive(
                                    bytes.span.bytes, from: ends[index].address, to: ends[index].server, now: now)
                            }
                        case .event(let event): events[index].append(event)
                        case .wait: break draining
                        }
                    }
                }
                draining: while true {
                    switch host.nextOutput() {
                    case .transmit(let datagram):
                        isBusy = true
                        if let index = ends.firstIndex(where: { $0.address == datagram.destination }) {
                            give(datagram.payload, index)
                        } else if datagram.destination.ip == RelayBench.relayedV4 {
                            host.receive(
                                datagram.payload.span.bytes, from: datagram.source, to: datagram.destination, now: now)
                        } else {
                            datagramsToPeers.append(datagram)
                        }
                    case .event(.write(let client, let bytes)):
                        isBusy = true
                        guard let index = ends.firstIndex(of: client) else { continue }
                        var reader = TURNStreamReader()
                        reader.append(bytes.span.bytes)
                        while let range = reader.next() { give(Array(reader.buffer[range]), index) }
                    case .wait: break draining
                    }
                }
            }
        }

        private func give(_ bytes: [UInt8], _ index: Int) {
            if case .data(let from, let range) = clients[index].receive(bytes.span.bytes, now: now) {
                received[index].append((from, Array(bytes[range])))
            }
        }

        /// Lets time pass, second by second.
        func pass(_ seconds: Int) {
            for _ in 0..<seconds {
                now += .seconds(1)
                host.handleTimeout(now: now)
                for index in clients.indices { clients[index].handleTimeout(now: now) }
                run()
            }
        }
    }

    @Test(
        "two clients talk through two allocations for two hours, past every lifetime and a stale nonce",
        arguments: [RelayClient.Transport.udp, .tcp], [TURNServer.Families.v4, .both])
    func longTalk(transport: RelayClient.Transport, families: TURNServer.Families) throws {
        let world = World(transport, families: families)
        #expect(world.clients.map(\.state) == [.allocated, .allocated])
        #expect(world.clients.map(\.relayed.count) == (families == .both ? [2, 2] : [1, 1]))
        #expect(world.clients.enumerated().allSatisfy { $1.mapped == world.ends[$0].address })
        let ends = try world.clients.map { try #require($0.relayed.first) }
        world.clients[0].permit(ends[1], now: world.now)
        world.clients[1].permit(ends[0], now: world.now)
        world.run()
        world.clients[0].bind(ends[1], now: world.now)
        world.run()
        for round in 0..<120 {
            let payload = [UInt8(round), 1, 2]
            world.clients[0].send(payload, to: ends[1], now: world.now)
            world.clients[1].send(payload, to: ends[0], now: world.now)
            world.run()
            for index in 0..<2 {
                #expect(world.received[index].last?.data == payload, "round \(round)")
                #expect(world.received[index].last?.from == ends[1 - index])
            }
            world.pass(60)
        }
        #expect(world.host.metrics.allocations == 2 && world.clients[0].counters.staleNonces > 0)
        #expect(world.clients.allSatisfy { $0.counters.unauthenticated == 0 && $0.counters.retransmissions == 0 })
        for index in 0..<2 { world.clients[index].release(now: world.now) }
        world.run()
        #expect(world.host.metrics.allocations == 0)
        #expect(world.clients.map(\.state) == [.ended, .ended])
    }

    @Test("a peer that may not be reached is refused, and the allocation stands")
    func refusal() throws {
        let world = World(.udp, families: .v4)
        let peer = SocketAddress(ip: .loopbackV4, port: 80)
        world.clients[0].permit(peer, now: world.now)
        world.run()
        #expect(world.events[0].contains { if case .refused(peer.ip, _) = $0 { true } else { false } })
        #expect(world.clients[0].state == .allocated)
        #expect(world.host.metrics.errors[403] == 1)
    }
}
