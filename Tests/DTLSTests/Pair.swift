// SPDX-License-Identifier: Apache-2.0
import DTLS
import Synchronization
import Wire

/// A link of the tests: which datagrams arrive, how often and how late, from a seed.
struct Link {
    var loss = 0.0
    var duplication = 0.0
    var latency = Duration.milliseconds(10)
    /// Up to so much more for each datagram, so that they overtake each other.
    var jitter = Duration.zero
}

/// Two sessions and the link between them, on virtual time.
struct Pair: ~Copyable {
    enum Side: Int { case client, server }

    var client: DTLSTransport
    var server: DTLSTransport
    var now = Timestamp.zero
    var link: Link
    var log: [(to: Side, bytes: [UInt8])] = []
    var received: [[[UInt8]]] = [[], []]
    var events: [[DTLSTransport.Event]] = [[], []]
    private var entropy: Entropy
    private var inFlight: [(at: Timestamp, order: Int, to: Side, bytes: [UInt8])] = []
    private var order = 0

    init(_ client: consuming DTLSTransport, _ server: consuming DTLSTransport, link: Link = Link(), seed: UInt64 = 1) {
        self.client = client
        self.server = server
        self.link = link
        entropy = Entropy(seed: seed)
    }

    mutating func start() {
        server.start(now: now)
        client.start(now: now)
        drain()
    }

    /// Runs until nothing is due any more or `duration` has passed.
    mutating func run(for duration: Duration = .seconds(120), until done: (borrowing Pair) -> Bool = { _ in false }) {
        let end = now + duration
        drain()
        while !done(self) {
            let next = [inFlight.map(\.at).min(), client.nextTimeout, server.nextTimeout].compactMap { $0 }.min()
            guard let next, next <= end else { return }
            now = max(now, next)
            client.handleTimeout(now: now)
            server.handleTimeout(now: now)
            while let index = dueIndex() {
                let datagram = inFlight.remove(at: index)
                deliver(datagram.bytes, to: datagram.to)
            }
            drain()
        }
    }

    var isConnected: Bool { client.state == .connected && server.state == .connected }

    /// Hands a datagram in at once.
    mutating func deliver(_ bytes: [UInt8], to side: Side) {
        var plaintext = PacketBuffer()
        switch side {
        case .client: client.receive(bytes.span.bytes, now: now, plaintext: &plaintext)
        case .server: server.receive(bytes.span.bytes, now: now, plaintext: &plaintext)
        }
        collect(plaintext, from: side)
        drain()
    }

    mutating func collect(_ plaintext: borrowing PacketBuffer, from side: Side) {
        for index in 0..<plaintext.count { received[side.rawValue].append([UInt8](copying: plaintext[index])) }
    }

    mutating func drain() {
        var buffer = PacketBuffer()
        client.takeOutgoing(into: &buffer)
        for index in 0..<buffer.count { transmit([UInt8](copying: buffer[index]), to: .server) }
        buffer.removeAll()
        server.takeOutgoing(into: &buffer)
        for index in 0..<buffer.count { transmit([UInt8](copying: buffer[index]), to: .client) }
        while let event = client.nextEvent() { events[Side.client.rawValue].append(event) }
        while let event = server.nextEvent() { events[Side.server.rawValue].append(event) }
    }

    /// Loses what is under way.
    mutating func dropInFlight() { inFlight.removeAll() }

    /// Tells the server what the client's certificate has to match.
    mutating func setServerFingerprints(_ fingerprints: [DTLSFingerprint]) {
        var plaintext = PacketBuffer()
        server.setExpectedFingerprints(fingerprints, now: now, plaintext: &plaintext)
        collect(plaintext, from: .server)
        drain()
    }

    private mutating func transmit(_ bytes: [UInt8], to side: Side) {
        log.append((side, bytes))
        if Double.random(in: 0..<1, using: &entropy) < link.loss { return }
        let copies = Double.random(in: 0..<1, using: &entropy) < link.duplication ? 2 : 1
        for _ in 0..<copies {
            let extra = link.jitter * Double.random(in: 0..<1, using: &entropy)
            inFlight.append((now + link.latency + extra, order, side, bytes))
            order += 1
        }
    }

    private func dueIndex() -> Int? {
        inFlight.indices.filter { inFlight[$0].at <= now }
            .min { (inFlight[$0].at, inFlight[$0].order) < (inFlight[$1].at, inFlight[$1].order) }
    }
}

/// Certificates are slow to make; these two serve every test that does not care.
enum Certificates {
    static let client = make()
    static let server = make()

    private static func make() -> DTLSCertificate {
        do { return try DTLSCertificate.generate() } catch { fatalError("\(error)") }
    }
}

func makePair(
    link: Link = Link(), seed: UInt64 = 1, mtu: Int = 1200, retransmission: Duration = .milliseconds(400)
) throws -> Pair {
    try makePairWith(
        client: [Certificates.server.fingerprint], server: [Certificates.client.fingerprint], link: link, seed: seed,
        mtu: mtu, retransmission: retransmission)
}

/// A pair whose sides expect these fingerprints of each other.
func makePairWith(
    client: [DTLSFingerprint]?, server: [DTLSFingerprint]?, link: Link = Link(), seed: UInt64 = 1, mtu: Int = 1200,
    retransmission: Duration = .milliseconds(400)
) throws -> Pair {
    var configuration = DTLSTransport.Configuration()
    configuration.mtu = mtu
    configuration.initialRetransmission = retransmission
    return Pair(
        try DTLSTransport(
            role: .client, certificate: Certificates.client, expectedFingerprints: client,
            configuration: configuration),
        try DTLSTransport(
            role: .server, certificate: Certificates.server, expectedFingerprints: server,
            configuration: configuration),
        link: link, seed: seed)
}

/// A pair whose sides have these certificates and otherwise what `configure` leaves.
func makePair(
    client: DTLSCertificate = Certificates.client, server: DTLSCertificate = Certificates.server,
    configure: (Pair.Side, inout DTLSTransport.Configuration) -> Void
) throws -> Pair {
    var (ours, theirs) = (DTLSTransport.Configuration(), DTLSTransport.Configuration())
    configure(.client, &ours)
    configure(.server, &theirs)
    return Pair(
        try DTLSTransport(
            role: .client, certificate: client, expectedFingerprints: server.fingerprints, configuration: ours),
        try DTLSTransport(
            role: .server, certificate: server, expectedFingerprints: client.fingerprints, configuration: theirs))
}

func bytes(_ values: UInt8...) -> [UInt8] { values }

/// Lines from callbacks.
final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func append(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
}
