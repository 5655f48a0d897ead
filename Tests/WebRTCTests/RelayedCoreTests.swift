// SPDX-License-Identifier: Apache-2.0
import Testing
import WebRTC
import Wire

@testable import ICE

@Suite("A connection over a relay", .serialized)
struct RelayedCoreTests {
    /// A relay without credentials: it lends one address and knows one peer's channel.
    final class Relay {
        static let address = SocketAddress(ip: .v4(0xC633_6409), port: 3478)
        static let relayed = SocketAddress(ip: .v4(0xC633_6409), port: 50_000)
        var client: SocketAddress?
        var channel: (number: UInt16, peer: SocketAddress)?
        /// The longest datagrams seen from the client, and toward the peer.
        var longest = (fromClient: 0, toPeer: 0)

        func receive(_ datagram: Datagram) -> Datagram? {
            datagram.destination == Self.relayed ? fromPeer(datagram) : fromClient(datagram)
        }

        private func fromPeer(_ datagram: Datagram) -> Datagram? {
            guard let client else { return nil }
            longest.toPeer = max(longest.toPeer, datagram.payload.count)
            if let channel, channel.peer == datagram.source {
                var bytes = [UInt8](repeating: 0, count: 4)
                bytes.withUnsafeMutableBytes {
                    ChannelData.writeHeader(channel: channel.number, count: datagram.payload.count, into: $0)
                }
                return Datagram(source: Self.address, destination: client, payload: bytes + datagram.payload)
            }
            var message = STUNMessage(.indication, .data, transactionID: STUNTransactionID(high: 1, low: 2))
            message.append(xorAddress: datagram.source, as: .xorPeerAddress)
            message.attributes.append(STUNAttribute(.data, datagram.payload))
            return Datagram(source: Self.address, destination: client, payload: message.encoded())
        }

        private func fromClient(_ datagram: Datagram) -> Datagram? {
            let bytes = datagram.payload.span.bytes
            if let (_, range) = ChannelData.read(bytes), ChannelData.isChannelData(bytes) {
                longest.fromClient = max(longest.fromClient, datagram.payload.count)
                return channel.map {
                    Datagram(source: Self.relayed, destination: $0.peer, payload: Array(datagram.payload[range]))
                }
            }
            guard let message = try? STUNMessage(decoding: bytes) else { return nil }
            if message.messageClass == .indication {
                guard let peer = message.xorAddresses(.xorPeerAddress).first, let data = message.first(.data) else {
                    return nil
                }
                return Datagram(source: Self.relayed, destination: peer, payload: data)
            }
            client = datagram.source
            var response = STUNMessage(.success, message.method, transactionID: message.transactionID)
            response.append(.lifetime, UInt32(600))
            if message.method == .allocate {
                response.append(xorAddress: Self.relayed, as: .xorRelayedAddress)
                response.append(xorAddress: datagram.source)
            }
            if message.method == .channelBind, let peer = message.xorAddresses(.xorPeerAddress).first,
                let number = message.first(.channelNumber)
            {
                channel = (UInt16(number[0]) << 8 | UInt16(number[1]), peer)
            }
            return Datagram(source: Self.address, destination: datagram.source, payload: response.encoded())
        }
    }

    @Test("messages go both ways over a channel of four bytes, and no datagram is longer than without it")
    func relayed() throws {
        let relay = Relay()
        var pair = try CorePair(seed: 21)
        pair.relay = { relay.receive($0) }
        let channel = try pair.offerer.openChannel(label: "a", options: .init())
        let server = TURNServer(
            address: Relay.address, credentials: LongTermCredentials(username: "user", password: "pass"))
        try pair.offerer.start(
            as: .offerer, localAddresses: [CorePair.addresses.0], servers: [], turnServers: [server], now: pair.now)
        let gathered = pair.run(for: .seconds(3)) { $0.offerer.isGatheringComplete }
        #expect(gathered)
        let offer = try pair.offerer.localDescription
        #expect(offer.candidates.count == 2)
        try pair.answerer.start(as: .answerer, localAddresses: [CorePair.addresses.1], servers: [], now: pair.now)
        try pair.answerer.setRemoteDescription(offer, now: pair.now)
        try pair.offerer.setRemoteDescription(try pair.answerer.localDescription, now: pair.now)
        let isConnected = pair.run(for: .seconds(10)) { $0.areConnected }
        #expect(isConnected)
        let payload = (0..<20_000).map { UInt8(truncatingIfNeeded: $0) }
        let isOpen = pair.run(for: .seconds(5)) {
            $0.events.0.contains { if case .channelOpened = $0 { true } else { false } }
        }
        #expect(isOpen)
        try pair.offerer.send(on: channel, isText: false, count: payload.count) {
            $0.copyBytes(from: payload)
        }
        let arrives = pair.run(for: .seconds(10)) { $0.messages.1.contains(payload) }
        #expect(arrives)
        #expect(relay.longest.fromClient > 1000)
        #expect(relay.longest.fromClient <= 1200)
        #expect(relay.client?.ip == CorePair.addresses.0.ip)
        #expect(relay.client?.port == CorePair.relayPort)
        #expect(pair.offerer.statistics.transport.bytesRelayed > 20_000)
    }

    @Test("where the budget is spent the peer's relayed candidates are left alone")
    func refused() throws {
        let relay = Relay()
        var pair = try CorePair(seed: 22)
        pair.relay = { relay.receive($0) }
        let server = TURNServer(
            address: Relay.address, credentials: LongTermCredentials(username: "user", password: "pass"))
        try pair.offerer.start(
            as: .offerer, localAddresses: [CorePair.addresses.0], servers: [], turnServers: [server], now: pair.now)
        let gathered = pair.run(for: .seconds(3)) { $0.offerer.isGatheringComplete }
        #expect(gathered)
        try pair.answerer.start(as: .answerer, localAddresses: [CorePair.addresses.1], servers: [], now: pair.now)
        pair.answerer.refuseRelays()
        try pair.answerer.setRemoteDescription(try pair.offerer.localDescription, now: pair.now)
        let remotes = pair.answerer.stats(now: pair.now).remoteCandidates.count
        #expect(remotes == 1)
    }
}
