// SPDX-License-Identifier: Apache-2.0

/// What Dreamer peers tell each other in a description: `a=dreamer:1 lane=<n> nat=<mapping>/<filtering>/<allocation>`.
public struct DreamerAttribute: Hashable, Sendable {
    /// How the writer's NAT behaves, in the words of RFC 4787.
    public struct NAT: Hashable, Sendable {
        /// How external ports are chosen for new destinations.
        public var mapping: String
        /// Whose packets are let in.
        public var filtering: String
        /// How port numbers follow each other.
        public var allocation: String

        /// The behaviour from its parts; each a word without spaces and slashes.
        public init(mapping: String, filtering: String, allocation: String) {
            self.mapping = mapping
            self.filtering = filtering
            self.allocation = allocation
        }
    }

    /// Which connection between the same two nodes this is; 0 is the main one.
    public var lane: Int
    /// The writer's NAT, `nil` where it is not known.
    public var nat: NAT?

    /// An attribute from its parts.
    public init(lane: Int = 0, nat: NAT? = nil) {
        self.lane = lane
        self.nat = nat
    }

    /// What stands after `a=dreamer:`; `nil` for a version that is not 1. Unknown and malformed parts are ignored.
    public init?(sdp value: some StringProtocol) {
        let words = value.split(separator: " ")
        guard words.first == "1" else { return nil }
        self.init()
        for word in words.dropFirst() {
            let parts = Substring(word).split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { continue }
            switch parts[0] {
            case "lane":
                if let lane = Int(parts[1]), (0...DreamerAttribute.highestLane).contains(lane) { self.lane = lane }
            case "nat":
                let names = parts[1].split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
                if names.count == 3 { nat = NAT(mapping: names[0], filtering: names[1], allocation: names[2]) }
            default: break
            }
        }
    }

    /// A bound for foreign numbers; no two nodes have that many connections.
    static let highestLane = 65_535
}

extension DreamerAttribute: CustomStringConvertible {
    /// What stands after `a=dreamer:`.
    public var description: String {
        var text = "1"
        if lane != 0 { text += " lane=\(lane)" }
        if let nat { text += " nat=\(nat.mapping)/\(nat.filtering)/\(nat.allocation)" }
        return text
    }
}
