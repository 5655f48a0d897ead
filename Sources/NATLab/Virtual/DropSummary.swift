// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Packets that ended at one place for one cause, with one pair of addresses: what a failed connection is explained
/// with.
///
///     for summary in DropSummary.all(in: network.takeObservations()) { print(summary.words(in: network)) }
public struct DropSummary: Hashable, Sendable {
    /// Where they ended.
    public let place: PacketObservation.Place
    /// Where they came from, as written in them there.
    public let source: SocketAddress
    /// Where they went, as written in them there.
    public let destination: SocketAddress
    /// Why the latest of them ended.
    public private(set) var cause: PacketDrop
    /// How many they are.
    public private(set) var count = 0
    /// When the first of them ended.
    public let first: Timestamp
    /// When the latest of them ended.
    public private(set) var latest: Timestamp

    /// What packets must share to be told of together.
    private struct Key: Hashable {
        let place: PacketObservation.Place
        let source: SocketAddress
        let destination: SocketAddress
        let cause: PacketDrop.Kind
    }

    private init(_ observation: PacketObservation, _ drop: PacketDrop) {
        place = observation.place
        source = observation.source
        destination = observation.destination
        cause = drop
        first = observation.time
        latest = observation.time
    }

    /// A summary of every drop that was observed, the most frequent first; where they are as many, in the order in
    /// which they began.
    public static func all(in observations: [PacketObservation]) -> [DropSummary] {
        var summaries: [DropSummary] = []
        var places: [Key: Int] = [:]
        for observation in observations {
            guard let drop = observation.drop else { continue }
            let key = Key(
                place: observation.place, source: observation.source, destination: observation.destination,
                cause: drop.kind)
            let place = places[key] ?? summaries.count
            if place == summaries.count {
                places[key] = place
                summaries.append(DropSummary(observation, drop))
            }
            summaries[place].count += 1
            summaries[place].cause = drop
            summaries[place].latest = observation.time
        }
        return summaries.enumerated().sorted {
            ($1.element.count, $0.offset) < ($0.element.count, $1.offset)
        }.map(\.element)
    }

    /// For example `router-b, outside, dropped 14 packets from 198.51.100.7:40312 to 203.0.113.9:51022:
    /// address-and-port-dependent filter: mapping …; its host sends to 198.51.100.7 from 203.0.113.9:60444`.
    public func words(in network: VirtualNetwork) -> String {
        let packets = count == 1 ? "1 packet" : "\(count) packets"
        let text = "\(network.name(at: place)), dropped \(packets) from \(source) to \(destination): \(cause)"
        guard case .filtered = cause, case .outside(let id) = place else { return text }
        let mappings = network.nat(id).mappings(now: network.now)
        guard let inside = mappings.first(where: { $0.external == destination })?.inside else { return text }
        let others = mappings.filter {
            $0.inside == inside && $0.external != destination && $0.latestDestination.ip == source.ip
        }
        guard let other = others.last else { return text }
        return "\(text); its host sends to \(other.latestDestination) from \(other.external)"
    }
}

extension PacketDrop {
    /// The cause without its particulars.
    enum Kind: Hashable, Sendable {
        case unmapped, filtered, notHairpinned, tooManySessions, noPortFree, noBlockFree, udpBlocked, timeToLiveExceeded
        case noRoute, foreignSource, lost, queueFull, tooLong
    }

    /// Which cause it is.
    var kind: Kind {
        switch self {
        case .unmapped: .unmapped
        case .filtered: .filtered
        case .notHairpinned: .notHairpinned
        case .tooManySessions: .tooManySessions
        case .noPortFree: .noPortFree
        case .noBlockFree: .noBlockFree
        case .udpBlocked: .udpBlocked
        case .timeToLiveExceeded: .timeToLiveExceeded
        case .noRoute: .noRoute
        case .foreignSource: .foreignSource
        case .lost: .lost
        case .queueFull: .queueFull
        case .tooLong: .tooLong
        }
    }
}
