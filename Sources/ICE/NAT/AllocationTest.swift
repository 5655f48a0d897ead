// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// How external ports and addresses are chosen (RFC 4787 §4.1, §4.2): fresh sockets make mappings, one after the other.
struct AllocationTest: NATTest {
    let stage = NATDiscovery.Stage.allocation
    private var sockets: [Int] = []
    private var asked: [Int] = []

    /// So many mappings with one address are no chance where there are two to choose from: one in 2^19.
    private static let poolingSamples = 20

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        guard report.translates != false else {
            report.allocation = .unknown(.noTranslation)
            report.preservesParity = .unknown(.noTranslation)
            report.pooling = .unknown(.noTranslation)
            return .done
        }
        while true {
            if let last = asked.last, !probing[last].isOver { return .underWay }
            guard asked.count == sockets.count else {
                // A socket that was opened and has not asked yet.
                guard let isUsable = probing.isUsable(sockets[asked.count]) else { return .underWay }
                guard isUsable else { return end(&probing, &report) }
                asked.append(
                    probing.ask(
                        .allocation, from: sockets[asked.count], to: probing.endpoints.primary,
                        copies: probing.configuration.copies))
                return .underWay
            }
            guard sockets.count < probing.configuration.allocationSockets else { return end(&probing, &report) }
            // All stay open till the end, so that no port comes twice.
            sockets.append(probing.open())
        }
    }

    private func end(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        let seen = asked.compactMap { index in probing[index].answer.map { (probing[index].source, $0.mapped) } }
        let samples = seen.map { NATPortPattern.Sample(inside: $0.0.port, outside: $0.1.port) }
        report.allocation = Self.pattern(seen.map(\.1.ip), samples)
        report.preservesParity =
            NATPortPattern.preservesParity(samples).map { .known($0) } ?? .unknown(.tooFewSamples)
        if Set(seen.map(\.1.ip)).count > 1 {
            report.pooling = .known(.arbitrary)
        } else {
            report.pooling = seen.count >= Self.poolingSamples ? .known(.paired) : .unknown(.tooFewSamples)
        }
        for socket in sockets { probing.close(socket) }
        return .done
    }

    /// The pattern of all mappings, or where they have several addresses, each with a sequence of its own, of those
    /// with the commonest address.
    private static func pattern(
        _ addresses: [IPAddress], _ samples: [NATPortPattern.Sample]
    ) -> NATFact<NATPortPattern> {
        let all = NATPortPattern(samples)
        if let all, all.allocation != .random { return .known(all) }
        for address in Set(addresses).sorted(by: { ($0.high, $0.low) < ($1.high, $1.low) }) {
            let part = zip(addresses, samples).filter { $0.0 == address }.map(\.1)
            if let pattern = NATPortPattern(part), pattern.allocation == .sequential { return .known(pattern) }
        }
        return all.map { .known($0) } ?? .unknown(.tooFewSamples)
    }
}

/// How the ports of one socket's mappings toward further destinations are chosen, where each destination has its own:
/// what one has to know to guess the port toward a peer.
struct FurtherAllocationTest: NATTest {
    let stage = NATDiscovery.Stage.allocation
    private var sockets: [Int] = []
    private var asked: [Int] = []
    /// So many further mappings are enough to tell a sequence from chance.
    private static let mappings = 15

    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome {
        guard let mapping = report.mapping.value else {
            report.furtherAllocation = .unknown(report.mapping.uncertainty ?? .notTested)
            return .done
        }
        guard mapping != .endpointIndependent, report.translates != false else {
            report.furtherAllocation = .unknown(.notObservable)
            return .done
        }
        let destinations = Self.destinations(probing.endpoints, mapping)
        guard destinations.count > 1 else {
            report.furtherAllocation = .unknown(.noOtherAddress)
            return .done
        }
        while true {
            if let last = asked.last, !probing[last].isOver { return .underWay }
            let next = asked.count / destinations.count
            guard next * (destinations.count - 1) < Self.mappings else {
                return end(destinations.count, &probing, &report)
            }
            guard next < sockets.count else {
                sockets.append(probing.open())
                continue
            }
            guard let isUsable = probing.isUsable(sockets[next]) else { return .underWay }
            guard isUsable else { return end(destinations.count, &probing, &report) }
            asked.append(
                probing.ask(
                    .allocation, from: sockets[next], to: destinations[asked.count % destinations.count],
                    copies: probing.configuration.copies))
        }
    }

    /// Destinations that each have a mapping of their own, the known address first.
    private static func destinations(
        _ endpoints: NATEndpoints, _ mapping: NATBehavior.Dependence
    ) -> [SocketAddress] {
        let others =
            mapping == .addressDependent
            ? [endpoints.other] : [endpoints.otherPort, endpoints.otherHost, endpoints.other]
        return others.compactMap(\.self).reduce(into: [endpoints.primary]) { if !$0.contains($1) { $0.append($1) } }
    }

    private func end(
        _ perSocket: Int, _ probing: inout NATProbing, _ report: inout NATReport
    ) -> NATTestOutcome {
        var ofSockets: [[UInt16]] = Array(repeating: [], count: sockets.count)
        // Where there are several external addresses each may have a sequence of its own.
        var ofAddresses: [IPAddress: [UInt16]] = [:]
        for (place, index) in asked.enumerated() {
            guard let mapped = probing[index].answer?.mapped else { continue }
            ofSockets[place / perSocket].append(mapped.port)
            if place % perSocket != 0 || report.allocation.value?.allocation != .preserving {
                ofAddresses[mapped.ip, default: []].append(mapped.port)
            }
        }
        let pattern = NATPortPattern(further: ofSockets)
        let byAddress = ofAddresses.count > 1 ? NATPortPattern(further: Array(ofAddresses.values)) : nil
        let found = byAddress?.allocation == .sequential ? byAddress : pattern
        report.furtherAllocation = found.map { .known($0) } ?? .unknown(.tooFewSamples)
        for socket in sockets { probing.close(socket) }
        return .done
    }
}
