// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Finds the address behind a `….local` name on the links of some local addresses.
///
/// The question goes out at 0, 1 and 3 seconds (RFC 6762 §5.2: a second at first, then twice as long), and nobody who
/// knows answers it after 5.
public struct MDNSLookup: ~Copyable, Sendable, SansIO {
    /// What came of it; told once.
    public enum Event: Hashable, Sendable {
        /// The addresses that the first useful response gave.
        case found([IPAddress])
        /// Nobody answered.
        case notFound
    }

    private let name: String
    private let sources: [SocketAddress]
    private var nextQuery: Timestamp
    private var interval = Duration.seconds(1)
    private let end: Timestamp
    private var outputs: [Output<Event>] = []
    private var head = 0
    private var isOver = false

    /// When nobody is waited for any more.
    public static let patience = Duration.seconds(5)

    /// A lookup that sends from sockets at `sources`, all in the group.
    public init(name: String, sources: [SocketAddress], now: Timestamp) {
        self.name = name
        self.sources = sources
        nextQuery = now
        end = now + Self.patience
        advance(now)
    }

    /// Takes what came to the group's port; anything but a useful response is dropped.
    public mutating func receive(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        // RFC 6762 §6: responses from another port are ignored.
        guard !isOver, source.port == MDNSMessage.port else { return }
        let addresses = MDNSMessage.addresses(of: name, in: bytes)
        if !addresses.isEmpty { finish(.found(addresses)) }
    }

    /// Tells that time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) { advance(now) }

    /// The next thing to do. Ask until the answer is ``Output/wait(until:)``.
    public mutating func nextOutput() -> Output<Event> {
        guard head < outputs.count else { return .wait(until: isOver ? nil : min(nextQuery, end)) }
        defer { head += 1 }
        return outputs[head]
    }

    private mutating func advance(_ now: Timestamp) {
        guard !isOver else { return }
        if now >= end { return finish(.notFound) }
        guard now >= nextQuery else { return }
        nextQuery = now + interval
        interval = interval * 2
        let queries = MDNSMessage.RecordType.allCases.compactMap { MDNSMessage.query(for: name, $0) }
        guard !queries.isEmpty, !sources.isEmpty else { return finish(.notFound) }
        let group = SocketAddress(ip: MDNSMessage.group, port: MDNSMessage.port)
        for source in sources {
            for query in queries {
                outputs.append(.transmit(Datagram(source: source, destination: group, payload: query)))
            }
        }
    }

    private mutating func finish(_ event: Event) {
        isOver = true
        outputs.append(.event(event))
    }
}
