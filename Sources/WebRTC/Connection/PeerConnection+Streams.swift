// SPDX-License-Identifier: Apache-2.0
import DTLS
import ICE
import NetIO
import Synchronization
import Wire

// Connections with the peer over TCP, on the loop's thread; those that this side opens are asked for as streams to
// relays are.
extension PeerConnection {
    /// Takes a connection whose first check names a fragment of ours; `nil` where the agent does not want it.
    func accept(
        _ stream: RelayStream, from source: SocketAddress, to local: SocketAddress, for ufrag: String
    ) -> RelayLink? {
        let link = guarded.withLock { state in
            state.core.streamAccepted(for: ufrag, from: source, to: local, now: endpoint.loop.now)
        }
        if let link { relays.adopt(stream, for: link) }
        return link
    }

    /// Takes bytes of a stream.
    func received(_ bytes: RawSpan, over link: RelayLink) {
        guarded.withLock { $0.core.receive(bytes, over: link, now: endpoint.loop.now) }
        process()
    }

    /// A connection that was taken is over.
    func ended(_ link: RelayLink, _ reason: TURNFailure) {
        // One that was closed from here has no more to tell.
        guard relays.forget(link) else { return }
        closed(link, reason)
    }

    /// A way to a relay or to the peer is over. Where data went by it, and the peer has not said good-bye, only a
    /// restart helps.
    func closed(_ link: RelayLink, _ reason: TURNFailure) {
        let needsRestart = guarded.withLock { state in
            let wasNeeded = state.core.needsRestart
            state.core.relayClosed(link, reason, now: endpoint.loop.now)
            guard state.core.needsRestart, !wasNeeded else { return false }
            state.core.restartICE()
            return true
        }
        process()
        if needsRestart { tell(.restartNeeded) }
    }
}

extension RTCEndpoint {
    /// Whose checks bear a fragment.
    func connection(named ufrag: String) -> PeerConnection? {
        allSockets.lazy.compactMap { $0.connection(named: ufrag) }.first
    }
}
