// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Synchronization

// The host's addresses change while the connection is there, on the loop's thread.
extension PeerConnection {
    /// Which sockets of the endpoint it uses; `nil` before there are any.
    var side: RTCEndpoint.Side? {
        guarded.withLock { state in state.core.side.map { $0 == .offerer ? .offer : .answer } }
    }

    /// Takes a socket on a new address, while the peer still expects candidates; later ones serve the next restart.
    func gained(_ socket: EndpointSocket) {
        guarded.withLock { state in
            guard state.core.addLocalAddress(socket.localAddress, now: endpoint.loop.now) else { return }
            state.sockets.append(socket)
            socket.add(self, ufrag: state.core.localUfrag)
        }
        answerForHostNames()
        process()
    }

    /// Loses sockets whose addresses are gone.
    func lost(_ gone: [EndpointSocket]) {
        let needsRestart = guarded.withLock { state in
            state.sockets.removeAll { socket in gone.contains { $0 === socket } }
            let isDue = state.core.removeLocalAddresses(gone.map(\.localAddress), now: endpoint.loop.now)
            if isDue { state.core.restartICE() }
            return isDue
        }
        for socket in gone { socket.remove(self) }
        process()
        if needsRestart { tell(.restartNeeded) }
    }
}
