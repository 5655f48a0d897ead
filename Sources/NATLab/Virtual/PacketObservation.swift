// SPDX-License-Identifier: Apache-2.0
public import Wire

/// A packet at one place of a virtual network: what a laboratory judges by, whatever the agents believe.
public struct PacketObservation: Hashable, Sendable {
    /// Where a packet was seen.
    public enum Place: Hashable, Sendable {
        /// At a host.
        case host(VirtualNetwork.HostID)
        /// On the inner side of a box, with inner addresses.
        case inside(VirtualNetwork.NATID)
        /// On the outer side of a box, with outer addresses.
        case outside(VirtualNetwork.NATID)
        /// In the public network.
        case internet
        /// On the link of a host or a box, away from it.
        case uplink(VirtualNetwork.Element)
        /// On the link of a host or a box, toward it.
        case downlink(VirtualNetwork.Element)
    }

    /// What happened to it there.
    public enum Action: Hashable, Sendable {
        /// The host sent it.
        case sent
        /// It passed a box; each pass is seen once inside and once outside.
        case passed
        /// A box sent it back inside.
        case hairpinned
        /// The host got it.
        case arrived
        /// It ended.
        case dropped(PacketDrop)
        /// It ended, and an ICMP error went back.
        case refused(PacketDrop)
        /// An ICMP error about a packet that went the other way passed or arrived.
        case error
    }

    /// When.
    public let time: Timestamp
    /// Which packet: the same number all along its way, copies included.
    public let packet: UInt64
    /// Where.
    public let place: Place
    /// What happened.
    public let action: Action
    /// Where it came from, as written in it at this place.
    public let source: SocketAddress
    /// Where it went, as written in it at this place.
    public let destination: SocketAddress
    /// How many more routers it may pass.
    public let timeToLive: Int
    /// What it carried.
    public let payload: [UInt8]

    /// Why it ended, where it did.
    public var drop: PacketDrop? {
        switch action {
        case .dropped(let drop), .refused(let drop): drop
        case .sent, .passed, .hairpinned, .arrived, .error: nil
        }
    }
}
