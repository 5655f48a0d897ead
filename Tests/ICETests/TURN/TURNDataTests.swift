import Testing
import Wire

// SPDX-License-Identifier: Apache-2.0
@testable import ICE

@Suite("Peers' data through a TURN server (RFC 8656 §9 to §12)")
struct TURNDataTests {
    let peer = address("192.0.2.2:6000")

    @Test("data waits for the permission, goes in indications, and on the channel once that is bound")
    func forms() throws {
        let script = ScriptedTURN.allocated()
        script.isConnected = false
        for number in UInt8(0)..<6 { script.send([number], to: peer) }
        #expect(script.relayed.isEmpty)
        // One request, however many messages wait; of those the newest four are kept.
        #expect(script.times(of: .createPermission).count == 1)
        script.isConnected = true
        script.advance(.milliseconds(500))
        #expect(script.relayed.map(\.payload) == [[2], [3], [4], [5]])
        #expect(script.relayed.allSatisfy { $0.destination == peer })
        #expect(script.messages.contains { $0.message.method == .send && $0.message.messageClass == .indication })
        script.bind(peer)
        #expect(script.client.channel(to: peer) == 0x4000)
        script.forgetSent()
        script.send([9, 9, 9], to: peer)
        #expect(script.sent.map(\.bytes) == [[0x40, 0, 0, 3, 9, 9, 9]])
        #expect(script.relayed.last?.payload == [9, 9, 9])
        #expect(script.client.counters.bytesSent == 4 + 3)
        #expect(script.server.faults.isEmpty)
    }

    @Test("on a stream channel messages are padded to four bytes (RFC 8656 §12.5)", arguments: 0..<5)
    func padding(count: Int) {
        let script = ScriptedTURN.allocated(transport: .tcp)
        script.bind(peer)
        script.forgetSent()
        let payload = [UInt8](repeating: 7, count: count)
        script.send(payload, to: peer)
        let padded = payload + [UInt8](repeating: 0, count: (4 - count % 4) % 4)
        #expect(script.sent.map(\.bytes) == [[0x40, 0, 0, UInt8(count)] + padded])
        #expect(script.relayed.last?.payload == payload)
    }

    @Test("many packets are wrapped at once, with four bytes each", arguments: [false, true])
    func wrap(isBound: Bool) {
        let script = ScriptedTURN.allocated()
        script.permit(peer)
        if isBound { script.bind(peer) }
        var packets = PacketBuffer()
        let payloads = [3, 1196, 0, 40].map { [UInt8](repeating: UInt8($0 & 0xFF), count: $0) }.filter { !$0.isEmpty }
        for payload in payloads { packets.append(payload.span.bytes) }
        var out = PacketBuffer()
        script.client.wrap(packets, to: peer, into: &out)
        let wrapped = out.count
        #expect(wrapped == payloads.count)
        for (index, payload) in payloads.enumerated() {
            let message = [UInt8](copying: out[index])
            if isBound {
                #expect(message == TURNServerDouble.channelData(0x4000, payload, pads: false))
                #expect(message.count == payload.count + TURNClient.channelOverhead)
            } else {
                #expect((try? decode(message))?.first(.data) == payload)
                #expect((try? decode(message))?.xorAddresses(.xorPeerAddress) == [peer])
            }
        }
        var other = PacketBuffer()
        script.client.wrap(packets, to: address("192.0.2.3:1"), into: &other)
        let count = other.count
        #expect(count == 0)
    }

    @Test("what comes is told with its peer, in place, on a channel and in indications")
    func receive() {
        let script = ScriptedTURN.allocated()
        script.permit(peer)
        script.arrive([1, 2, 3], from: peer)
        script.arrive([], from: peer)
        // RFC 8656 §9: a permission is for an address, whatever the port.
        script.arrive([4], from: address("192.0.2.2:9"))
        script.arrive([5], from: address("192.0.2.3:6000"))
        script.bind(peer)
        script.arrive([6, 7], from: peer)
        #expect(script.received.map(\.payload) == [[1, 2, 3], [], [4], [6, 7]])
        #expect(script.received.map(\.peer.port) == [6000, 6000, 9, 6000])
        #expect(script.client.counters.bytesReceived == 6)
        let message = TURNServerDouble.channelData(0x4000, [1, 2, 3])
        #expect(script.receive(message) == .data(from: peer, 4..<7))
    }

    @Test("data that nobody may send is dropped and counted (RFC 8656 §11.4, §12.6)")
    func notPermitted() {
        let script = ScriptedTURN.allocated()
        script.permit(peer)
        let stranger = address("192.0.2.3:6000")
        #expect(script.receive(TURNServerDouble.dataIndication(stranger, [1])) == .dropped)
        #expect(script.receive(TURNServerDouble.channelData(0x4000, [1])) == .dropped)
        #expect(script.client.counters.notPermitted == 2)
        // Too short, a reserved number, no data, no peer, something that must be understood.
        #expect(script.receive([0x40, 0, 0, 9, 1]) == .dropped)
        #expect(script.receive([0x4F, 0xFF, 0, 0]) == .dropped)
        #expect(script.receive(TURNServerDouble.dataIndication(peer, nil)) == .dropped)
        #expect(script.receive(TURNServerDouble.dataIndication(peer, [1]) { $0.attributes.removeFirst() }) == .dropped)
        let strange = STUNAttribute(STUNAttribute.Kind(rawValue: 0x7FFF), [])
        #expect(
            script.receive(TURNServerDouble.dataIndication(peer, [1]) { $0.attributes.append(strange) }) == .dropped)
        let harmless = STUNAttribute(STUNAttribute.Kind(rawValue: 0xFFFF), [1])
        let kept = script.receive(TURNServerDouble.dataIndication(peer, [1]) { $0.attributes.append(harmless) })
        #expect(kept == .data(from: peer, 36..<37))
    }

    @Test("an ICMP error is told with its peer (RFC 8656 §11.6)")
    func icmp() {
        let script = ScriptedTURN.allocated()
        script.permit(peer)
        let bytes = TURNServerDouble.dataIndication(peer, nil) {
            $0.attributes.append(STUNAttribute(.icmp, [0, 0, 3, 3, 0, 0, 0, 0]))
        }
        #expect(script.receive(bytes) == .handled)
        script.drain()
        #expect(script.events.contains(.undelivered(peer, type: 3, code: 3)))
    }

    @Test("permissions and channels are refreshed before they end, and numbers keep their peers (RFC 8656 §9, §12)")
    func refreshes() {
        let script = ScriptedTURN.allocated()
        script.permit(peer)
        script.bind(peer)
        script.bind(address("192.0.2.4:1"))
        script.bind(peer)
        script.advance(.seconds(3000))
        let seconds = { (method: STUNMessage.Method) in
            script.times(of: method).map { $0.nanoseconds / 1_000_000_000 }
        }
        #expect(seconds(.createPermission) == Array(stride(from: 0, through: 3000, by: 240)))
        #expect(Set(seconds(.channelBind)) == Set(stride(from: 0, through: 3000, by: 540)))
        let bindings = Set(
            script.messages.map(\.message).filter { $0.method == .channelBind }.map {
                [$0.first(.channelNumber), $0.first(.xorPeerAddress)]
            })
        #expect(bindings.count == 2)
        #expect(script.client.channel(to: peer) == 0x4000)
        #expect(script.client.channel(to: address("192.0.2.4:1")) == 0x4001)
        #expect(script.server.faults.isEmpty)
        script.client.keep(only: [peer.ip])
        script.forgetSent()
        script.advance(.seconds(1000))
        #expect(script.client.channel(to: address("192.0.2.4:1")) == nil)
        #expect(script.client.channel(to: peer) == 0x4000)
    }

    @Test("peers of a family that was not allocated are refused without asking (RFC 8656 §10.1)")
    func family() {
        let script = ScriptedTURN.allocated()
        let six = address("[2001:db8::2]:6000")
        script.permit(six)
        #expect(script.events.contains(.refused(six.ip, .peerAddressFamilyMismatch)))
        #expect(script.times(of: .createPermission).isEmpty)
        let both = ScriptedTURN(families: .both)
        both.server.ipv6 = address("[2001:db8::5]:1").ip
        both.start()
        both.permit(six)
        both.send([1], to: six)
        #expect(both.relayed.map(\.destination) == [six])
    }

    @Test("permissions that were asked for before the allocation are made with it")
    func early() {
        let script = ScriptedTURN()
        script.client.permit(peer, now: script.now)
        script.start()
        #expect(script.events.contains(.permitted(peer.ip)))
    }

    @Test(
        "of peers that are not needed any more nothing is refreshed, not even a channel whose answer is still to come")
    func keptPeers() {
        let script = ScriptedTURN.allocated()
        let other = address("192.0.2.3:6000")
        script.bind(peer)
        script.permit(peer)
        script.permit(other)
        script.isConnected = false
        script.bind(other)
        script.client.keep(only: [peer.ip])
        script.isConnected = true
        script.forgetSent()
        script.advance(.seconds(1300))
        let binds = script.messages.filter { $0.message.method == .channelBind }
        #expect(!binds.isEmpty && binds.allSatisfy { $0.message.xorAddresses(.xorPeerAddress) == [peer] })
        let permissions = script.messages.filter { $0.message.method == .createPermission }
        #expect(!permissions.isEmpty && permissions.allSatisfy { $0.message.xorAddresses(.xorPeerAddress) == [peer] })
    }

    @Test("no more peers than a bound are permitted")
    func bound() {
        let script = ScriptedTURN.allocated()
        for number in UInt32(0)..<200 { script.permit(SocketAddress(ip: .v4(0x0101_0000 + number), port: 1)) }
        #expect(script.times(of: .createPermission).count == TURNClient.maximumPermissions)
        #expect(script.events.contains { if case .refused(_, .limit) = $0 { true } else { false } })
    }

    @Test("a stream is cut into its messages wherever its bytes are parted", arguments: 1..<40)
    func stream(size: Int) {
        let messages = [
            TURNServerDouble.channelData(0x4001, [1, 2, 3]), TURNServerDouble.dataIndication(peer, [1, 2, 3, 4, 5]),
            TURNServerDouble.channelData(0x4FFF, []), TURNServerDouble.channelData(0x4000, Array(0..<100)),
        ]
        let all = messages.flatMap { $0 }
        var reader = TURNStreamReader()
        var found: [[UInt8]] = []
        for start in stride(from: 0, to: all.count, by: size) {
            let part = Array(all[start..<min(start + size, all.count)])
            reader.append(part.span.bytes)
            while let range = reader.next() { found.append(Array(reader.buffer[range])) }
        }
        // Padding is left out.
        #expect(found == [Array(messages[0].prefix(7))] + messages[1...])
        #expect(!reader.isBroken)
    }

    @Test("a stream's message ends where it says, and what is taken leaves no memory behind")
    func endOfMessage() {
        func end(_ head: [UInt8]) -> Int? {
            var reader = TURNStreamReader()
            reader.append(head.span.bytes)
            #expect(reader.next() == nil && !reader.isBroken)
            while reader.buffer.count < 70_000 {
                reader.append(([0] as [UInt8]).span.bytes)
                if let range = reader.next() {
                    let count = reader.buffer.count
                    #expect(range.lowerBound == 0 && reader.next() == nil && reader.buffer.capacity <= 4096)
                    return count
                }
            }
            return nil
        }
        #expect(end([0, 1, 0, 8]) == 28 && end([3, 1, 0, 0]) == 20 && end([0x40, 0, 0]) == 4)
        #expect(end([0x4F, 0, 0, 5]) == 12 && end([0x40, 0, 255, 255]) == 65_540)
    }

    @Test("numbers of channels from before are taken where they are wanted")
    func olderChannels() {
        var reader = TURNStreamReader(channelBytes: 0x40...0x7F)
        reader.append(([0x7F, 0, 0, 0, 0x50, 0, 0, 1, 9, 0, 0, 0] as [UInt8]).span.bytes)
        #expect(reader.next() == 0..<4 && reader.next() == 4..<9 && reader.next() == nil && !reader.isBroken)
    }

    @Test(
        "a stream of something else is broken, as soon as that shows",
        arguments: [[22, 3, 3, 0], [0, 1, 0, 3], [0x50, 0, 0, 0], [255, 0, 0, 0], [4], [20], [0x50], [0x80], [255]]
            as [[UInt8]])
    func brokenStream(start: [UInt8]) {
        var reader = TURNStreamReader()
        reader.append(start.span.bytes)
        #expect(reader.next() == nil)
        #expect(reader.isBroken)
        reader.append([0x40, 0, 0, 0].span.bytes)
        #expect(reader.next() == nil)
    }

    @Test("changed packets do no harm", arguments: [1, 2, 3] as [UInt64])
    func mutations(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        func random(_ bound: Int) -> Int { Int(entropy.next() % UInt64(bound)) }
        let script = ScriptedTURN(families: .both)
        script.server.ipv6 = address("[2001:db8::5]:1").ip
        script.server.algorithms = [.md5, .sha256]
        var answers: [[UInt8]] = []
        script.rewrites = { bytes in
            answers.append(bytes)
            return [bytes]
        }
        script.start()
        script.permit(peer)
        script.bind(peer)
        script.arrive([1, 2, 3], from: peer)
        answers.append(TURNServerDouble.dataIndication(peer, [1, 2, 3, 4]))
        print("mutations: seed \(seed)")
        for _ in 0..<4000 {
            var bytes = answers[random(answers.count)]
            for _ in 0...random(4) {
                switch random(4) {
                case 0 where !bytes.isEmpty: bytes[random(bytes.count)] = UInt8(random(256))
                case 1 where !bytes.isEmpty: bytes.removeLast(random(bytes.count))
                case 2: bytes.append(contentsOf: entropy.bytes(random(9)))
                default: if bytes.count > 3 { bytes[random(4)] = UInt8(random(256)) }
                }
            }
            script.receive(bytes)
            var reader = TURNStreamReader()
            reader.append(bytes.span.bytes)
            while reader.next() != nil {}
        }
        script.drain()
        script.advance(.seconds(60))
        #expect(script.client.state == .allocated)
        #expect(script.client.permissions.count <= TURNClient.maximumPermissions)
        #expect(script.server.faults.isEmpty)
    }
}
