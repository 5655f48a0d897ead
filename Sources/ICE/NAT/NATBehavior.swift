// SPDX-License-Identifier: Apache-2.0

/// What a NAT does with UDP, in the terms of RFC 4787: what decides whether two peers can meet, and how.
public struct NATBehavior: Hashable, Sendable {
    /// On how much of the other end something depends (RFC 4787 §4.1, §5).
    public enum Dependence: String, Hashable, Sendable, CaseIterable {
        /// On nothing of it.
        case endpointIndependent = "ei"
        /// On its address.
        case addressDependent = "ad"
        /// On its address and port.
        case addressAndPortDependent = "apd"
    }

    /// How a new mapping's external port is chosen (RFC 4787 §4.2).
    public enum Allocation: String, Hashable, Sendable, CaseIterable {
        /// The internal port where it is free (port preservation).
        case preserving
        /// The one after that of the mapping before.
        case sequential
        /// Any, at random.
        case random
    }

    /// What a mapping is used again for: which destinations see the same external address and port.
    public var mapping: Dependence
    /// What an inbound packet's source must share with a destination that was sent to, for it to be let in.
    public var filtering: Dependence
    /// How external ports are chosen.
    public var allocation: Allocation

    /// A behaviour from its parts.
    public init(mapping: Dependence, filtering: Dependence, allocation: Allocation = .preserving) {
        self.mapping = mapping
        self.filtering = filtering
        self.allocation = allocation
    }
}

extension NATBehavior: LosslessStringConvertible {
    /// The three parts as a description of a session carries them: `apd/apd/random`.
    public var description: String { "\(mapping.rawValue)/\(filtering.rawValue)/\(allocation.rawValue)" }

    /// Reads ``description``; `nil` for anything else.
    public init?(_ description: String) {
        let parts = description.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, let mapping = Dependence(rawValue: String(parts[0])),
            let filtering = Dependence(rawValue: String(parts[1])), let allocation = Allocation(rawValue: String(parts[2]))
        else { return nil }
        self.init(mapping: mapping, filtering: filtering, allocation: allocation)
    }
}
