// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// What the tests of a discovery found that is no fact of the report by itself.
struct NATFindings: Hashable, Sendable {
    /// What became of answers from an address that a socket had not sent to.
    enum Filter: Hashable, Sendable {
        case passed
        /// None came, and that was no chance.
        case filtered
        case unknown(NATUncertainty)
    }

    /// Answers from the server's other host.
    var otherHost = Filter.unknown(.notTested)
    /// Answers from the server's other port.
    var otherPort = Filter.unknown(.notTested)
    /// The socket to which answers from the other host came to no effect.
    var filteredSocket: Int?
    /// Whether the server showed that it answers from there when asked to.
    var provesOtherHost = false
    var provesOtherPort = false

    /// Whether what was filtered took the port.
    var takesPort: Bool?
    /// Whether what was filtered ended the mapping; `nil` where that could not be told.
    var endsMapping: Bool?
    /// Two sockets whose mappings have one external address: packets for the second can be had by asking from the
    /// first.
    var responsePortPair: (asking: Int, receiving: Int)? {
        get { asking.flatMap { asking in receiving.map { (asking, $0) } } }
        set { (asking, receiving) = (newValue?.asking, newValue?.receiving) }
    }
    private var asking: Int?
    private var receiving: Int?
    /// Why the server answers to no other port; `nil` once it did.
    var responsePortDoubt: NATUncertainty? = .notTested
    /// That nothing came back in, where it is open whether that says anything.
    var isHairpinSilent = false
}

extension NATReport {
    /// Draws what takes several tests.
    mutating func conclude(_ findings: NATFindings) {
        filtering = conclusion(findings)
        if kind.uncertainty == .notTested { kind = kindConclusion }
        filteredInbound = inboundConclusion(findings)
        if hairpinning.uncertainty == .notTested, findings.isHairpinSilent {
            // Nothing came: either nothing comes back in, or a filter held it up that peers' own packets would not
            // open.
            let isDecisive =
                filtering.value == .endpointIndependent
                || mapping.value == .endpointIndependent && filteredInbound.value == .dropped
            hairpinning = isDecisive ? .known(.none) : .unknown(.notObservable)
        }
    }

    private func conclusion(_ findings: NATFindings) -> NATFact<NATBehavior.Dependence> {
        switch (findings.otherHost, findings.otherPort) {
        case (.passed, _): .known(.endpointIndependent)
        case (_, .filtered):
            findings.provesOtherPort ? .known(.addressAndPortDependent) : .unknown(.changeRequestUnproven)
        case (.filtered, .passed):
            findings.provesOtherHost ? .known(.addressDependent) : .unknown(.changeRequestUnproven)
        case (.filtered, .unknown(let reason)), (.unknown(let reason), _): .unknown(reason)
        }
    }

    private var kindConclusion: NATFact<Kind> {
        guard let translates else {
            return .unknown(mappedAddress == nil ? .notTested : .localAddressUnknown)
        }
        if translates { return .known(.nat) }
        switch filtering {
        case .known(let dependence): return .known(dependence == .endpointIndependent ? .open : .firewall)
        case .unknown(let reason): return .unknown(reason)
        }
    }

    private func inboundConclusion(_ findings: NATFindings) -> NATFact<FilteredInbound> {
        guard let dependence = filtering.value else { return .unknown(filtering.uncertainty ?? .notTested) }
        if dependence == .endpointIndependent { return .unknown(.nothingFiltered) }
        if findings.endsMapping == true { return .known(.endsMapping) }
        // Where each destination has a port of its own anyway, nobody sees one taken.
        guard mapping.value == .endpointIndependent else { return .unknown(mapping.uncertainty ?? .notObservable) }
        switch (findings.takesPort, findings.endsMapping) {
        case (true?, _): return .known(.takesPort)
        case (false?, nil): return .unknown(findings.responsePortDoubt ?? .tooLossy)
        case (false?, _): return .known(.dropped)
        case (nil, _): return .unknown(.notObservable)
        }
    }

    /// Takes the evidence.
    mutating func take(_ probing: NATProbing) {
        server = probing.endpoints.primary
        otherAddress = probing.endpoints.other
        exchanges = probing.exchanges
        faults = probing.faults
        roundTripTime = probing.roundTripTime
        requestsSent = probing.loss.copies
        requestsAnswered = probing.loss.answers
        packetsDropped = probing.dropped
        for exchange in exchanges where exchange.purpose != .hairpin {
            guard let ip = exchange.answer?.mapped.ip, externalAddresses.count < 16, !externalAddresses.contains(ip)
            else { continue }
            externalAddresses.append(ip)
        }
        let plain = exchanges.compactMap(\.answer).filter { $0.plainMapped != nil }
        if !plain.isEmpty { rewritesPayload = .known(plain.contains { $0.plainMapped != $0.mapped }) }
    }
}
