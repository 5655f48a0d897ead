// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

/// An address from text that is known to be one.
func address(_ text: String) -> SocketAddress {
    guard let address = SocketAddress(text) else { preconditionFailure("\(text) is no address") }
    return address
}

/// So many seconds after the start.
func seconds(_ count: Double) -> Timestamp { Timestamp(nanoseconds: Int64(count * 1e9)) }

/// A NAT with one external address, 198.51.100.7, unless told otherwise.
func makeNAT(_ profile: NATProfile, addresses: [String] = ["198.51.100.7"], seed: UInt64 = 1) -> VirtualNAT {
    VirtualNAT(profile, externalAddresses: addresses.compactMap { IPAddress($0) }, entropy: Entropy(seed: seed))
}

extension VirtualNAT {
    /// Sends from inside; the external address that the packet left with, `nil` where it did not.
    mutating func out(_ source: String, _ destination: String, at time: Double = 0) -> SocketAddress? {
        if case .forwarded(let external, _) = outbound(
            from: address(source), to: address(destination), now: seconds(time))
        {
            return external
        }
        return nil
    }

    /// Sends from outside; the address inside that gets the packet, `nil` where none does.
    mutating func back(_ source: String, _ external: SocketAddress?, at time: Double = 0) -> SocketAddress? {
        guard let external else { return nil }
        if case .forwarded(_, let inside) = inbound(from: address(source), to: external, now: seconds(time)) {
            return inside
        }
        return nil
    }
}

/// Every mapping with every filter.
let everyBehavior: [NATBehavior] = NATBehavior.Dependence.allCases.flatMap { mapping in
    NATBehavior.Dependence.allCases.map { NATBehavior(mapping: mapping, filtering: $0, allocation: .random) }
}
