// SPDX-License-Identifier: Apache-2.0
public import ICE

extension NATProfile {
    /// The NAT that a discovery saw; `nil` where it could not even tell whether there is one. Of what it did not find
    /// out the worst for connections is assumed, and `assumptions` names it.
    public static func seen(
        by report: NATReport, name: String
    ) -> (profile: NATProfile, assumptions: [String])? {
        guard let kind = report.kind.value, let known = Kind(rawValue: kind.rawValue) else { return nil }
        var profile = NATProfile(name: name)
        var assumptions: [String] = []
        profile.kind = known
        guard known == .nat || known == .firewall else {
            if known == .open { profile.behavior.filtering = .endpointIndependent }
            return (profile, [])
        }
        func take<Value>(_ fact: NATFact<Value>, _ name: String, otherwise worst: Value) -> Value {
            switch fact {
            case .known(let value): return value
            case .unknown(.noTranslation), .unknown(.notObservable), .unknown(.nothingFiltered): return worst
            case .unknown(let reason):
                assumptions.append("\(name) (\(reason))")
                return worst
            }
        }
        profile.behavior.mapping = take(report.mapping, "mapping", otherwise: .addressAndPortDependent)
        profile.behavior.filtering = take(report.filtering, "filtering", otherwise: .addressAndPortDependent)
        profile.filteredInbound =
            FilteredInbound(rawValue: take(report.filteredInbound, "filteredInbound", otherwise: .dropped).rawValue)
            ?? .dropped
        if let lifetime = report.mappingLifetime.value {
            // What survived is what one can rely on; whole seconds, as a file has them.
            let seconds = lifetime.survived.components.seconds
            if seconds > 0 { profile.mappingLifetime = .seconds(seconds) }
        }
        profile.inboundRefreshes = report.inboundRefreshes.value ?? false
        guard known == .nat else { return (profile, assumptions) }
        takePorts(of: report, into: &profile, &assumptions)
        profile.addressCount = max(report.externalAddresses.count, 1)
        profile.pooling = report.pooling.value == .arbitrary ? .arbitrary : .paired
        profile.hairpinning =
            Hairpinning(rawValue: take(report.hairpinning, "hairpinning", otherwise: .none).rawValue) ?? .none
        return (profile, assumptions)
    }

    private static func takePorts(
        of report: NATReport, into profile: inout NATProfile, _ assumptions: inout [String]
    ) {
        guard let pattern = report.allocation.value else {
            profile.behavior.allocation = .random
            assumptions.append("allocation (\(report.allocation.uncertainty ?? .notTested))")
            return
        }
        profile.behavior.allocation = pattern.allocation
        if pattern.allocation == .random, pattern.isConfined { profile.ports = pattern.observed }
        if pattern.allocation == .sequential { profile.portStep = max(1, Int((pattern.step ?? 1).magnitude)) }
        profile.preservesParity = pattern.allocation != .preserving && report.preservesParity.value == true
        // Where a port is preserved for the first destination only, this is what the others get.
        if pattern.allocation == .preserving, report.furtherAllocation.value?.allocation == .random {
            profile.portConflict = .randomPort
        }
    }
}
