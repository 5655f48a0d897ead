// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Answers for the names that stand for addresses of this host in candidates (RFC 6762 §6, as far as
/// draft-ietf-mmusic-mdns-ice-candidates needs it).
///
/// Names are random, so that nobody is asked before whether they are taken. Each is announced twice, a second apart
/// (§8.3), and only on the link of its address, so that no link learns the addresses of another.
public struct MDNSResponder: ~Copyable, Sendable, SansIO {
    /// Nothing is reported.
    public enum Event: Hashable, Sendable {}

    private let sources: [SocketAddress]
    private var records: [Record] = []
    private var outputs: [Output<Event>] = []
    private var head = 0
    /// Queries that were answered.
    public private(set) var answered = 0

    private struct Record: Sendable {
        let host: HostName
        let labels: [UInt8]
        /// Announcements that are still to come, and when.
        var announcements = 2
        var announceAt: Timestamp
        /// When the last answer went to all of a link.
        var multicastAt: [SocketAddress: Timestamp] = [:]
    }

    /// As many names as are answered for.
    public static let mostNames = 32
    /// RFC 6762 §6: no record goes to all more often.
    private static let interval = Duration.seconds(1)
    private static let everybody = SocketAddress(ip: MDNSMessage.group, port: MDNSMessage.port)

    /// A responder that sends from sockets at `sources`, all in the group.
    public init(sources: [SocketAddress]) {
        self.sources = sources
    }

    /// Begins to answer for a name, and announces it. What is no name, and what is one too many, is left out.
    public mutating func add(_ host: HostName, now: Timestamp) {
        guard records.count < Self.mostNames, let labels = MDNSMessage.encode(host.name),
            !records.contains(where: { $0.labels == labels })
        else { return }
        records.append(Record(host: host, labels: labels, announceAt: now))
        handleTimeout(now: now)
    }

    /// Says good-bye for all names and answers for none any more (RFC 6762 §10.1).
    public mutating func close() {
        for record in records { tell(record.host, lifetime: 0) }
        records.removeAll()
    }

    /// Takes what came to the group's port at the socket `destination`; anything but a question for our names is
    /// dropped.
    public mutating func receive(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        guard sources.contains(destination), source.port != 0, let (id, questions) = MDNSMessage.questions(in: bytes)
        else { return }
        for question in questions {
            guard let index = records.firstIndex(where: { $0.labels == question.name }) else { continue }
            let host = records[index].host
            guard isOn(host, destination), question.type.map({ ($0 == .a) == (host.address.family == .v4) }) ?? true
            else { continue }
            if source.port != MDNSMessage.port {
                answer(MDNSMessage.legacyResponse(host, id: id, question: question), from: destination, to: source)
                continue
            }
            let last = records[index].multicastAt[destination]
            if question.wantsUnicast, last != nil {
                answer(MDNSMessage.response([host]), from: destination, to: source)
            } else if last.map({ $0 + Self.interval <= now }) ?? true {
                records[index].multicastAt[destination] = now
                answer(MDNSMessage.response([host]), from: destination, to: Self.everybody)
            }
        }
    }

    /// Tells that time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) {
        for index in records.indices where records[index].announcements > 0 && records[index].announceAt <= now {
            records[index].announcements -= 1
            records[index].announceAt = now + Self.interval
            for source in sources where isOn(records[index].host, source) { records[index].multicastAt[source] = now }
            tell(records[index].host)
        }
    }

    /// The next thing to do. Ask until the answer is ``Output/wait(until:)``.
    public mutating func nextOutput() -> Output<Event> {
        guard head < outputs.count else {
            return .wait(until: records.filter { $0.announcements > 0 }.map(\.announceAt).min())
        }
        defer {
            head += 1
            if head == outputs.count {
                outputs.removeAll(keepingCapacity: true)
                head = 0
            }
        }
        return outputs[head]
    }

    /// Whether an address is told on the link of a socket: an IPv4 address on its own, an IPv6 one, whose link the
    /// sockets of IPv4 do not tell, on each.
    private func isOn(_ host: HostName, _ source: SocketAddress) -> Bool {
        host.address.family != source.ip.family || host.address == source.ip
    }

    private mutating func tell(_ host: HostName, lifetime: UInt32 = MDNSMessage.lifetime) {
        guard let response = MDNSMessage.response([host], lifetime: lifetime) else { return }
        for source in sources where isOn(host, source) {
            outputs.append(.transmit(Datagram(source: source, destination: Self.everybody, payload: response)))
        }
    }

    private mutating func answer(_ response: [UInt8]?, from source: SocketAddress, to destination: SocketAddress) {
        guard let response else { return }
        answered += 1
        outputs.append(.transmit(Datagram(source: source, destination: destination, payload: response)))
    }
}
