// SPDX-License-Identifier: Apache-2.0
import DTLS
import Wire

/// A session at some point of its handshake, or behind it, gets datagrams: foreign ones, and its peer's with a byte changed
/// or cut short. The first byte says which side it is and how much of the handshake came before.
enum DTLSFuzz {
    private static let certificates = (make(), make())

    private static func make() -> DTLSCertificate {
        do { return try DTLSCertificate.generate() } catch { fatalError("\(error)") }
    }

    private static func session(_ role: DTLSTransport.Role) throws -> DTLSTransport {
        let (own, other) = role == .client ? certificates : (certificates.1, certificates.0)
        var session = try DTLSTransport(role: role, certificate: own, expectedFingerprints: other.fingerprints)
        session.start(now: .zero)
        return session
    }

    static func run(_ bytes: [UInt8]) {
        guard let first = bytes.first, var victim = try? session(first & 1 == 0 ? .server : .client),
            var peer = try? session(first & 1 == 0 ? .client : .server)
        else { return }
        var plaintext = PacketBuffer()
        var toVictim = PacketBuffer()
        var toPeer = PacketBuffer()
        // Each round is a flight; after six both sides are connected.
        for _ in 0..<Int(first >> 1 & 7) {
            toVictim.removeAll()
            peer.takeOutgoing(into: &toVictim)
            for index in 0..<toVictim.count { victim.receive(toVictim[index], now: .zero, plaintext: &plaintext) }
            toPeer.removeAll()
            victim.takeOutgoing(into: &toPeer)
            for index in 0..<toPeer.count { peer.receive(toPeer[index], now: .zero, plaintext: &plaintext) }
        }
        precondition(plaintext.isEmpty, "there was no plaintext")
        toVictim.removeAll()
        peer.takeOutgoing(into: &toVictim)
        var genuine = (0..<toVictim.count).map { [UInt8](copying: toVictim[$0]) }
        var now = Timestamp.zero
        var steps = Steps(bytes, from: 1)
        while let (kind, body) = steps.next() {
            switch kind & 3 {
            case 0:
                victim.receive(body.span.bytes, now: now, plaintext: &plaintext)
                precondition(plaintext.isEmpty, "plaintext that nobody sent")
            case 1:
                guard !genuine.isEmpty else { continue }
                var datagram = genuine.removeFirst()
                if body.count > 2 {
                    let place = (Int(body[0]) << 8 | Int(body[1])) % datagram.count
                    datagram[place] ^= body[2]
                    if body.count > 3 { datagram = Array(datagram.prefix(Int(body[3]) * datagram.count / 255)) }
                }
                victim.receive(datagram.span.bytes, now: now, plaintext: &plaintext)
            case 2:
                guard !body.isEmpty, (try? peer.send(body.span.bytes)) != nil else { continue }
                toVictim.removeAll()
                peer.takeOutgoing(into: &toVictim)
                for index in 0..<toVictim.count {
                    genuine.append([UInt8](copying: toVictim[index]))
                    // Sent over by a path that doubles, too.
                    victim.receive(toVictim[index], now: now, plaintext: &plaintext)
                }
            default:
                now += .milliseconds(100)
                victim.handleTimeout(now: now)
            }
            plaintext.removeAll()
            toPeer.removeAll()
            victim.takeOutgoing(into: &toPeer)
            precondition(toPeer.count < 32 && toPeer.byteCount < 64 << 10, "an answer that is too long")
            while victim.nextEvent() != nil {}
        }
    }

    static var seeds: [[UInt8]] {
        (UInt8(0)..<16).map {
            [$0] + Steps.write([(1, [0, 0, 0]), (1, [0, 5, 1]), (2, [1, 2, 3]), (1, []), (3, [])])
        }
    }
}
