// SPDX-License-Identifier: Apache-2.0
import DTLS
import Synchronization
import Wire

/// A connection between two cores in memory, once in a process, before the first real one.
///
/// The first connection of a process costs 3 ms more than the next: OpenSSL looks its algorithms up, usrsctp starts,
/// the dynamic linker binds functions, and pages are touched for the first time. An endpoint pays that while it waits
/// for an offer or gathers candidates, instead of between the offer and the open channel.
enum Rehearsal {
    private static let isDone = Atomic<Bool>(false)
    private static let addresses = [
        SocketAddress(ip: .loopbackV4, port: 1), SocketAddress(ip: .loopbackV4, port: 2),
    ]
    /// Far more rounds than the handshakes have.
    private static let longest = 100

    /// Runs the rehearsal if there was none yet. What fails in it will fail again, and then be told.
    static func runOnce(certificate: DTLSCertificate, entropy: Entropy, now: Timestamp) {
        guard !isDone.exchange(true, ordering: .relaxed) else { return }
        try? run(certificate: certificate, entropy: entropy, now: now)
    }

    private static func run(certificate: DTLSCertificate, entropy: Entropy, now start: Timestamp) throws {
        var entropy = entropy
        var configuration = PeerCore.Configuration(certificate: certificate)
        configuration.includesLoopback = true
        var offerer = PeerCore(configuration: configuration, entropy: entropy.split())
        var answerer = PeerCore(configuration: configuration, entropy: entropy.split())
        _ = try offerer.openChannel(label: "", options: DataChannel.Options())
        try offerer.start(as: .offerer, localAddresses: [addresses[0]], servers: [], now: start)
        try answerer.start(as: .answerer, localAddresses: [addresses[1]], servers: [], now: start)
        try answerer.setRemoteDescription(try offerer.localDescription, now: start)
        try offerer.setRemoteDescription(try answerer.localDescription, now: start)
        var outbox = PeerOutbox()
        var now = start
        var isOpen = false
        for _ in 0..<longest where !isOpen {
            var deadlines: [Timestamp] = []
            offerer.drain(into: &outbox, includingEvents: true, readsMessages: true, now: now)
            for event in outbox.events {
                if case .channelOpened = event { isOpen = true }
            }
            deadlines += [outbox.deadline].compactMap { $0 }
            let offererMoved = deliver(&outbox, from: 0, to: &answerer, now: now)
            answerer.drain(into: &outbox, includingEvents: true, readsMessages: true, now: now)
            deadlines += [outbox.deadline].compactMap { $0 }
            let answererMoved = deliver(&outbox, from: 1, to: &offerer, now: now)
            guard !offererMoved, !answererMoved, let next = deadlines.min() else { continue }
            now = max(now, next)
            offerer.handleTimeout(now: now)
            answerer.handleTimeout(now: now)
        }
        offerer.abort()
        answerer.abort()
    }

    /// Hands one side's packets to the other; answers whether there were any.
    private static func deliver(
        _ outbox: inout PeerOutbox, from index: Int, to peer: inout PeerCore, now: Timestamp
    ) -> Bool {
        let moved = !outbox.datagrams.isEmpty || !outbox.packets.isEmpty || outbox.hasMore
        let (source, destination) = (addresses[index], addresses[1 - index])
        for datagram in outbox.datagrams {
            peer.receive(datagram.payload.span.bytes, from: source, to: destination, now: now)
        }
        for packet in 0..<outbox.packets.count {
            peer.receive(outbox.packets[packet], from: source, to: destination, now: now)
        }
        outbox.removeAll()
        return moved
    }
}
