// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Synchronization

// Candidates that are there before they are asked for (W3C's iceCandidatePoolSize). They are on sockets of the
// connection's own: which of the endpoint's are its, those for offers or those for answers, is not known yet.
extension PeerConnection {
    /// Gathers ahead of the first description.
    func gatherAhead() async {
        let servers = await resolveServers(expecting: [])
        guard let sockets = try? await endpoint.socketsForRestart() else { return }
        let isWanted = guarded.withLock { state in
            useHostNames(&state.core)
            state.core.listeners = endpoint.door.localAddresses
            guard
                state.core.prepare(
                    localAddresses: sockets.map(\.localAddress), servers: servers.stun, turnServers: servers.turn,
                    now: endpoint.loop.now)
            else { return false }
            state.sockets = sockets
            for socket in sockets { socket.add(self, ufrag: state.core.localUfrag) }
            return true
        }
        if isWanted {
            answerForHostNames()
            return process()
        }
        for socket in sockets { endpoint.retire(socket) }
    }

    /// Waits until gathering ahead has begun, where it is to be; whether the connection has still to start with what
    /// that finds.
    func isPrepared() async -> Bool {
        await pooling.withLock { $0 }?.value
        return guarded.withLock { $0.core.isPrepared }
    }

    /// Starts on the sockets that were gathered on; `false` where there are none.
    func startPrepared(_ side: RTCEndpoint.Side) throws(PeerConnectionError) -> Bool {
        try guarded.withLock { (state) throws(PeerConnectionError) in
            guard state.core.isPrepared else { return false }
            try state.core.start(
                as: side == .offer ? .offerer : .answerer, localAddresses: [], servers: [], now: endpoint.loop.now)
            return true
        }
    }
}
