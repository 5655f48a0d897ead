// SPDX-License-Identifier: Apache-2.0
public import ICE
public import Wire

/// What an agent of a connection wants for the sake of probing.
public struct PeerPortRequest: Hashable, Sendable {
    /// The agent, by its username fragment: a restart has a second one.
    public let ufrag: String
    /// What it wants.
    public let request: PortRequest
}

extension PeerCore {
    /// Tells an agent which sockets are open after a request for ports; `nil` where nothing may be sent. Sockets for an
    /// agent that is gone come back as no longer needed.
    public mutating func portsOpened(_ sockets: [SocketAddress]?, for ufrag: String, now: Timestamp) {
        func isIt(_ agent: borrowing ICEAgent) -> Bool { agent.localCredentials.ufrag == ufrag }
        func tell(_ agent: inout ICEAgent?) {
            if let sockets { agent?.portsOpened(sockets, now: now) } else { agent?.portsRefused(now: now) }
        }
        if ice.peek(isIt) ?? false {
            tell(&ice)
        } else if restart.offered.peek(isIt) ?? false {
            tell(&restart.offered)
        } else if restart.previous.peek(isIt) ?? false {
            tell(&restart.previous)
        } else {
            note(.close(sockets ?? []), of: ufrag)
        }
        pumpICE()
    }

    /// Keeps what an agent wants for the next drain.
    mutating func note(_ request: PortRequest, of ufrag: String?) {
        guard let ufrag else { return }
        portRequests.append(PeerPortRequest(ufrag: ufrag, request: request))
    }
}
