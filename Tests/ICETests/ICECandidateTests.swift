// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("Candidates and credentials")
struct ICECandidateTests {
    @Test(
        "candidates are read as they are written",
        arguments: [
            "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host",
            "candidate:2 1 udp 1694498815 203.0.113.5 6000 typ srflx raddr 192.0.2.1 rport 5000",
            "candidate:a+/9 256 tcp 1 2001:db8::1 9 typ prflx raddr 2001:db8::2 rport 5 tcptype active",
            "candidate:842163049 1 udp 1677729535 198.51.100.9 57000 typ relay raddr 0.0.0.0 rport 9 generation 0 ufrag sXP5",
            "candidate:3 1 udp 2122260223 4e4e4e4e-0000-4000-8000-123456789abc.local 51472 typ host generation 0",
        ])
    func roundTrip(line: String) throws {
        let candidate = try #require(ICECandidate(sdp: line))
        #expect(candidate.description == line)
        #expect(ICECandidate(sdp: "a=" + line + "\r\n") == candidate)
        #expect(ICECandidate(sdp: String(line.dropFirst(10))) == candidate)
    }

    @Test("the parts of a candidate are found")
    func parts() throws {
        let candidate = try #require(
            ICECandidate(
                sdp: "candidate:f 1 UDP 1694498815 203.0.113.5 6000 typ srflx raddr 10.0.0.1 rport 5000 foo bar ufrag x"))
        #expect(candidate.transport == .udp)
        #expect(candidate.address == SocketAddress("203.0.113.5:6000"))
        #expect(candidate.relatedAddress == SocketAddress("10.0.0.1:5000"))
        #expect(candidate.kind == .serverReflexive)
        #expect(candidate.value(ofExtension: "ufrag") == "x")
        #expect(candidate.value(ofExtension: "foo") == "bar")
        let hidden = try #require(ICECandidate(sdp: "candidate:1 1 udp 1 host.example 9 typ host"))
        #expect(hidden.address == nil)
        #expect(hidden.host == .name("host.example"))
    }

    @Test(
        "what RFC 8839 §5.1 does not allow is no candidate",
        arguments: [
            "", "candidate:", "candidate:1 1 udp 1 192.0.2.1 5000", "candidate:1 1 udp 1 192.0.2.1 5000 typ",
            "candidate:1 1 udp 1 192.0.2.1 5000 typ foo", "candidate:1 1 sctp 1 192.0.2.1 5000 typ host",
            "candidate:1 0 udp 1 192.0.2.1 5000 typ host", "candidate:1 257 udp 1 192.0.2.1 5000 typ host",
            "candidate:1 1 udp -1 192.0.2.1 5000 typ host", "candidate:1 1 udp 4294967296 192.0.2.1 5000 typ host",
            "candidate:1 1 udp 1 192.0.2.1 65536 typ host", "candidate:1 1 udp 1 192.0.2.256 5000 typ host",
            "candidate:1 1 udp 1 192.0.2.1 +5 typ host", "candidate:1 1 udp 1 ho$t 5000 typ host",
            "candidate:_ 1 udp 1 192.0.2.1 5000 typ host",
            "candidate:123456789012345678901234567890123 1 udp 1 192.0.2.1 5000 typ host",
            "candidate:1 1 udp 1 192.0.2.1 5000 host typ", "candidate:1 1 udp 1 99999999999999999999 5 typ host",
        ])
    func refused(line: String) {
        #expect(ICECandidate(sdp: line) == nil)
    }

    @Test("no line traps, whatever is done to it", arguments: 0..<20)
    func fuzz(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        let line = Array(
            "candidate:2 1 udp 1694498815 203.0.113.5 6000 typ srflx raddr 192.0.2.1 rport 5000 generation 0".utf8)
        for _ in 0..<300 {
            var bytes = Array(line.prefix(Int(entropy.next() % UInt64(line.count + 1))))
            for _ in 0..<entropy.next() % 5 where !bytes.isEmpty {
                bytes[Int(entropy.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: entropy.next())
            }
            if let candidate = ICECandidate(sdp: String(decoding: bytes, as: UTF8.self)) {
                #expect(ICECandidate(sdp: candidate.description) == candidate, "seed \(seed)")
            }
        }
    }

    @Test("credentials have the lengths and letters of RFC 8839 §5.4, and differ")
    func credentials() throws {
        var entropy = Entropy(seed: 1)
        let first = ICECredentials(using: &entropy)
        let second = ICECredentials(using: &entropy)
        #expect(first.ufrag != second.ufrag)
        #expect(first.password != second.password)
        #expect(ICECredentials(ufrag: first.ufrag, password: first.password) == first)
        let long = String(repeating: "a", count: 256)
        #expect(ICECredentials(ufrag: long, password: long) != nil)
        #expect(ICECredentials(ufrag: "abc", password: long) == nil)
        #expect(ICECredentials(ufrag: "abcd", password: "short") == nil)
        #expect(ICECredentials(ufrag: "ab:d", password: long) == nil)
        #expect(ICECredentials(ufrag: long + "a", password: long) == nil)
    }

    @Test("addresses are put in RFC 8421's order, local ones last")
    func order() throws {
        let texts = ["127.0.0.1:1", "192.0.2.1:1", "[fe80::1]:1", "192.0.2.2:1", "[2001:db8::1]:1", "[::1]:1"]
        let addresses = try texts.map { try #require(SocketAddress($0)) }
        #expect(
            ICEAgent.preferenceOrder(of: addresses).map(\.description)
                == ["[2001:db8::1]:1", "192.0.2.1:1", "192.0.2.2:1", "[fe80::1]:1", "[::1]:1", "127.0.0.1:1"])
    }
}
