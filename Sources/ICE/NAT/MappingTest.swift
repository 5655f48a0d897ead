// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Which address each of the server's addresses sees (RFC 5780 §4.3); then, with all doors open, whether the server
/// answers from elsewhere at all.
struct MappingTest: NATTest {
    let stage = NATDiscovery.Stage.mapping
    private var socket: Int?
    private var asked: [Int] = []
    private var round = 0
    private var proof: Proof?
    private var proofs: [Proof] = []

    /// Whether a proof is to be had only where two mappings have one external address by chance.
    private var isHeldUp = false

    /// Rounds that end in contradictions are repeated with a fresh socket.
    private static let maximumRounds = 3
    /// So are those whose mappings have several external addresses, until a proof can be had.
    private static let maximumProofRounds = 8

    /// The server is to answer from where the socket has sent to, which nothing filters.
    private struct Proof: Sendable {
        let changes: NATExchange.Changes
        let origin: SocketAddress
        /// The port that the origin sees, where it is another than the known address sees.
        let responsePort: UInt16?
        var insistence = Insistence()
    }

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        guard probing.endpoints.other != nil else {
            report.mapping = .unknown(.noOtherAddress)
            return .done
        }
        guard let socket else {
            socket = probing.open()
            return .underWay
        }
        guard let isUsable = probing.isUsable(socket) else { return .underWay }
        guard isUsable else {
            if report.mapping.value == nil { report.mapping = .unknown(.noSocket) }
            return .done
        }
        if proof != nil { return prove(socket, &probing) }
        let destinations = Self.destinations(probing.endpoints)
        if let last = asked.last, !probing[last].isOver { return .underWay }
        guard asked.count == destinations.count else {
            asked.append(
                probing.ask(
                    .mapping, from: socket, to: destinations[asked.count], copies: probing.configuration.copies))
            return .underWay
        }
        noteFaults(&probing)
        let seen = asked.map { probing[$0].answer?.mapped }
        if report.mapping.value == nil { report.mapping = Self.conclusion(seen, probing.endpoints) }
        round += 1
        if report.mapping == .unknown(.inconsistent), round < Self.maximumRounds {
            startRound(&probing)
            return advance(&probing, &report)
        }
        prepareProofs(probing)
        return prove(socket, &probing)
    }

    /// The known address, its other port, the other host's ports, and the known address once more: what it sees must
    /// not have changed meanwhile.
    private static func destinations(_ endpoints: NATEndpoints) -> [SocketAddress] {
        let all = [endpoints.primary, endpoints.otherPort, endpoints.otherHost, endpoints.other, endpoints.primary]
        var result: [SocketAddress] = []
        for address in all.compactMap(\.self) where result.last != address { result.append(address) }
        return result
    }

    /// The mapping from what each destination saw, `nil` where it was silent.
    private static func conclusion(
        _ seen: [SocketAddress?], _ endpoints: NATEndpoints
    ) -> NATFact<NATBehavior.Dependence> {
        let destinations = destinations(endpoints)
        func at(_ destination: SocketAddress?) -> SocketAddress? {
            destinations.firstIndex { $0 == destination }.flatMap { seen[$0] }
        }
        guard let known = seen[0], let again = seen[seen.count - 1] else { return .unknown(.tooLossy) }
        guard known == again else { return .unknown(.inconsistent) }
        let otherPort = at(endpoints.otherPort)
        guard endpoints.hasTwoAddresses else {
            guard let otherPort else { return .unknown(.otherAddressSilent) }
            return otherPort == known ? .unknown(.oneAddress) : .known(.addressAndPortDependent)
        }
        let (otherHost, other) = (at(endpoints.otherHost), at(endpoints.other))
        guard endpoints.hasTwoPorts else {
            guard let other else { return .unknown(.otherAddressSilent) }
            return other == known ? .known(.endpointIndependent) : .unknown(.onePort)
        }
        guard let otherHost, let other else {
            if let otherPort, otherPort != known { return .known(.addressAndPortDependent) }
            return .unknown(.otherAddressSilent)
        }
        let ports = [otherPort.map { $0 == known }, otherHost == other].compactMap(\.self)
        switch (ports.allSatisfy { $0 }, ports.contains(true), otherHost == known || other == known) {
        case (true, _, true): return .known(.endpointIndependent)
        case (true, _, false): return .known(.addressDependent)
        case (false, false, false): return .known(.addressAndPortDependent)
        default: return .unknown(.inconsistent)
        }
    }

    private func noteFaults(_ probing: inout NATProbing) {
        for index in asked {
            let exchange = probing[index]
            guard let named = exchange.answer?.otherAddress,
                named != probing.endpoints.expectedOther(at: exchange.destination)
            else { continue }
            probing.note(.otherAddressInconsistent(named))
        }
    }
}

// MARK: - Proofs

extension MappingTest {
    private mutating func prepareProofs(_ probing: NATProbing) {
        func mapped(_ destination: SocketAddress?) -> SocketAddress? {
            asked.map { probing[$0] }.last { $0.destination == destination && $0.answer != nil }?.answer?.mapped
        }
        let endpoints = probing.endpoints
        isHeldUp = false
        guard let known = mapped(endpoints.primary) else { return }
        func add(_ changes: NATExchange.Changes) {
            guard let origin = endpoints.origin(of: changes), let seen = mapped(origin) else { return }
            guard seen.ip == known.ip else {
                isHeldUp = true
                return
            }
            let port = seen.port == known.port ? nil : seen.port
            proofs.append(Proof(changes: changes, origin: origin, responsePort: port))
        }
        let findings = probing.findings
        if findings.otherHost == .filtered, !findings.provesOtherHost {
            add(endpoints.hasTwoPorts ? [.address, .port] : .address)
        }
        if findings.otherPort == .filtered, !findings.provesOtherPort { add(.port) }
        proof = proofs.popLast()
    }

    private mutating func prove(_ socket: Int, _ probing: inout NATProbing) -> NATTestOutcome {
        while let proof {
            let primary = probing.endpoints.primary
            var insistence = proof.insistence
            let state = insistence.advance(&probing, accepts: { $0.source == proof.origin }) { probing, _ in
                probing.ask(
                    .control, from: socket, to: primary, changes: proof.changes, responsePort: proof.responsePort,
                    copies: 1)
            }
            self.proof?.insistence = insistence
            if state == .underWay { return .underWay }
            if case .answered = state {
                if proof.changes == .port { probing.findings.provesOtherPort = true }
                if proof.changes.contains(.address) { probing.findings.provesOtherHost = true }
            }
            probing.giveUp()
            self.proof = proofs.popLast()
        }
        if isHeldUp, round < Self.maximumProofRounds {
            startRound(&probing)
            return .underWay
        }
        probing.close(socket)
        return .done
    }

    private mutating func startRound(_ probing: inout NATProbing) {
        if let socket { probing.close(socket) }
        (socket, asked) = (probing.open(), [])
    }
}
