// SPDX-License-Identifier: Apache-2.0

/// Both directions of what attaches a host or a box to a network.
public struct AccessLink: Hashable, Sendable {
    /// What happens to packets away from the host or box.
    public var up: LinkConditions
    /// What happens to packets toward it.
    public var down: LinkConditions

    /// A link from its directions.
    public init(up: LinkConditions, down: LinkConditions) {
        self.up = up
        self.down = down
    }

    /// A link that is the same in both directions; without conditions a perfect one, which takes no time.
    public init(_ conditions: LinkConditions = LinkConditions()) {
        up = conditions
        down = conditions
    }
}
