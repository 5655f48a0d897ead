// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension NATReport: CustomStringConvertible {
    /// The report for people: the facts, what is wrong with the server, and what it all means.
    public var description: String {
        var lines = ["NAT discovery with \(server)" + (otherAddress.map { " and \($0)" } ?? "")]
        func line<Value>(_ title: String, _ fact: NATFact<Value>, _ words: (Value) -> String) {
            let text =
                switch fact {
                case .known(let value): words(value)
                case .unknown(let reason): "unknown: \(reason)"
                }
            add(title, text)
        }
        func add(_ title: String, _ text: String) {
            lines.append("  \(title)" + String(repeating: " ", count: max(22 - title.count, 1)) + text)
        }
        if let localAddress, let mappedAddress { add("address", "\(localAddress) is seen as \(mappedAddress)") }
        line("in between", kind, \.words)
        line("mapping", mapping) { $0.words }
        line("filtering", filtering) { $0.words }
        line("ports", allocation, \.words)
        if mapping.value != .endpointIndependent { line("ports, further", furtherAllocation, \.words) }
        line("port parity", preservesParity) { $0 ? "preserved" : "not preserved" }
        line("external addresses", pooling) {
            $0 == .paired ? "one for all mappings" : "any of several for each mapping"
        }
        line("hairpinning", hairpinning, \.words)
        line("filtered packets", filteredInbound, \.words)
        line("mapping lifetime", mappingLifetime, \.words)
        line("kept alive from", inboundRefreshes) { $0 ? "inside and outside" : "inside alone" }
        line("payload", rewritesPayload) { $0 ? "addresses in packets are changed (a generic ALG)" : "left alone" }
        if let roundTripTime {
            let milliseconds = Double(roundTripTime.nanoseconds / 10_000) / 100
            add("server", "round trip \(milliseconds) ms, \(requestsAnswered) of \(requestsSent) requests answered")
        }
        for fault in faults { add("server", fault.description) }
        lines.append("")
        lines += meaning
        return lines.joined(separator: "\n")
    }

    /// What the facts mean for connections to others, a sentence or two each.
    public var meaning: [String] {
        switch kind {
        case .known(.udpBlocked):
            return [
                """
                No server answered: UDP does not get out of this network. Connections have to go through a relay over \
                TCP or TLS.
                """
            ]
        case .known(.open):
            return ["This host has a public address and nothing filters: anybody can connect to it directly."]
        case .unknown(.noAnswer):
            return [
                """
                \(server) did not answer: it is down, or UDP does not get out of this network. Ask a second server to \
                tell which.
                """
            ]
        default: return [reachability, prediction, early, hairpin, idle, addresses, open].compactMap(\.self)
        }
    }

    /// What packets do that come before this side has sent.
    private var early: String? {
        switch filteredInbound.value {
        case .takesPort?:
            """
            A packet that arrives too early takes the port that it was for, and what this host then sends to its \
            source leaves from another port. Both sides sending at once, which usually opens a way, fails here unless \
            this side's packets come first, or the other side's first ones are sent so that they do not arrive.
            """
        case .endsMapping?:
            """
            A packet that arrives too early ends the mapping that it was for: this side has to send first, and again.
            """
        case .dropped?, nil: nil
        }
    }

    private var hairpin: String? {
        guard hairpinning.value == NATReport.Hairpinning.none else { return nil }
        return """
            Hosts behind this NAT do not reach each other at its external addresses; they need their internal ones.
            """
    }

    private var idle: String? {
        // RFC 4787 REQ-5.
        guard let lifetime = mappingLifetime.value, let expired = lifetime.expired, expired < .seconds(120) else {
            return nil
        }
        return """
            Mappings end between \(lifetime.lower) s and \(Lifetime.rounded(expired)) s without traffic, less than the \
            two minutes that RFC 4787 asks for: idle connections need a packet more often than that.
            """
    }

    private var addresses: String? {
        guard pooling.value == .arbitrary else { return nil }
        return "Mappings have several external addresses: two connections of this host look like two hosts."
    }

    private var open: String? {
        unknownNames.isEmpty ? nil : "Not known: \(unknownNames.joined(separator: ", "))."
    }

    private var unknownNames: [String] {
        [
            ("mapping", mapping.value == nil), ("filtering", filtering.value == nil),
            ("port allocation", allocation.value == nil && kind.value == .nat),
        ].filter(\.1).map(\.0)
    }

    /// Who can connect.
    private var reachability: String? {
        switch (mapping.value, filtering.value) {
        case (.endpointIndependent?, .endpointIndependent?):
            return "Whoever learns this host's external address can send to it: direct connections to everybody work."
        case (.endpointIndependent?, .addressDependent?):
            return """
                Your \(box) keeps one port for all destinations and lets in those hosts that you sent to: direct \
                connections work with everybody, even with peers whose NAT gives every destination another port.
                """
        case (.endpointIndependent?, .addressAndPortDependent?):
            return """
                Your \(box) keeps one port for all destinations and lets in only the very addresses and ports that you \
                sent to: direct connections work with most peers, but not by ordinary means with those whose NAT gives \
                every destination another port.
                """
        case (.endpointIndependent?, nil):
            return "Your \(box) keeps one port for all destinations, which is what direct connections need most."
        case (let mapping?, .endpointIndependent?):
            return """
                Your NAT gives every \(destinations(mapping)) another port, but lets everybody in: direct connections \
                work with peers whose own NAT does not filter by port.
                """
        case (let mapping?, _):
            return """
                Your NAT gives every \(destinations(mapping)) another port, so a peer behind a NAT that lets in only \
                the ports it sent to never guesses yours: such pairs need the port predicted, many ports tried, or a \
                relay. Peers without such a filter can be reached directly.
                """
        case (nil, _): return nil
        }
    }

    private func destinations(_ mapping: NATBehavior.Dependence) -> String {
        mapping == .addressDependent ? "host that you send to" : "destination"
    }

    private var box: String { kind.value == .firewall ? "firewall" : "NAT" }

    /// Whether the next port can be known in advance.
    private var prediction: String? {
        guard let mapping = mapping.value, mapping != .endpointIndependent, let pattern = furtherAllocation.value else {
            return nil
        }
        switch pattern.allocation {
        case .sequential:
            return "The next port can be predicted: each is \(pattern.step ?? 1) from the one before."
        case .preserving: return "The next port can be predicted: it is the internal one where that is free."
        case .random:
            let (lowest, highest) = (pattern.observed.lowerBound, pattern.observed.upperBound)
            return pattern.isConfined
                ? "Ports are random, but from \(lowest) to \(highest) or a little more."
                : "Ports are random, so that the next one cannot be predicted."
        }
    }
}

extension NATReport.Kind {
    fileprivate var words: String {
        switch self {
        case .open: "nothing"
        case .nat: "a NAT"
        case .firewall: "a firewall that translates nothing"
        case .udpBlocked: "something that lets no UDP through"
        }
    }
}

extension NATReport.Hairpinning {
    fileprivate var words: String {
        switch self {
        case .none: "no"
        case .externalSource: "yes, from the sender's external address"
        case .internalSource: "yes, from the sender's internal address"
        }
    }
}

extension NATReport.FilteredInbound {
    fileprivate var words: String {
        switch self {
        case .dropped: "are dropped"
        case .takesPort: "take the port that they were for"
        case .endsMapping: "end the mapping that they were for"
        }
    }
}

extension NATReport.Lifetime {
    /// Whole seconds.
    fileprivate var lower: Int { Int(survived.seconds) }
    fileprivate static func rounded(_ duration: Duration) -> Int { Int(duration.seconds.rounded(.up)) }

    fileprivate var words: String {
        guard let expired else { return "more than \(lower) s" }
        return "\(lower) to \(Self.rounded(expired)) s"
    }
}

extension NATPortPattern {
    fileprivate var words: String {
        switch allocation {
        case .preserving: "preserved where they are free"
        case .sequential:
            "one after the other, by steps of \(step ?? 1), seen from \(observed.lowerBound) to \(observed.upperBound)"
        case .random:
            "random, seen from \(observed.lowerBound) to \(observed.upperBound)" + (isConfined ? ", a part of all" : "")
        }
    }
}

extension NATBehavior.Dependence {
    fileprivate var words: String {
        switch self {
        case .endpointIndependent: "endpoint-independent"
        case .addressDependent: "address-dependent"
        case .addressAndPortDependent: "address- and port-dependent"
        }
    }
}
