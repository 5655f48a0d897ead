// SPDX-License-Identifier: Apache-2.0
import ICE
import Synchronization
import Wire

// Names of multicast DNS for the host's addresses. All connections of an endpoint use the same ones: its certificate
// shows them to be of one host anyway.
extension RTCEndpoint {
    /// The names that are answered for on the local links.
    var hostNames: [HostName] { state.withLock { $0.responder }?.names ?? [] }

    /// Answers for these names from now on, until the endpoint is closed.
    func answer(for hosts: [HostName]) {
        guard !hosts.isEmpty else { return }
        let addresses = Set(localAddresses.map(\.ip))
        let responder = state.withLock { state in
            guard !state.isClosed else { return nil as MulticastResponder? }
            if state.responder == nil { state.responder = MulticastResponder(on: Array(addresses), loop: loop) }
            return state.responder
        }
        responder?.answer(for: hosts)
    }
}

extension PeerConnection {
    /// Has the next candidates bear the names that the endpoint answers for.
    func useHostNames(_ core: inout PeerCore) {
        if configuration.hidesHostAddresses { core.knownHostNames = endpoint.hostNames }
    }

    /// Has the endpoint answer for the names in our candidates.
    func answerForHostNames() {
        if configuration.hidesHostAddresses { endpoint.answer(for: guarded.withLock { $0.core.hostNames }) }
    }
}
