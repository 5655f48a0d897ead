// SPDX-License-Identifier: Apache-2.0
import ICE
import SDP

extension DreamerAttribute {
    /// What the writer's NAT does; `nil` where it says nothing, or in words that are not known.
    var behavior: NATBehavior? { nat.flatMap { NATBehavior("\($0.mapping)/\($0.filtering)/\($0.allocation)") } }
}

extension DreamerAttribute.NAT {
    /// The words for a behaviour.
    init(_ behavior: NATBehavior) {
        self.init(
            mapping: behavior.mapping.rawValue, filtering: behavior.filtering.rawValue,
            allocation: behavior.allocation.rawValue)
    }
}
