// SPDX-License-Identifier: Apache-2.0
import NetIO
import SCTP
import Synchronization
import Wire

/// Drives usrsctp's timers, which exist once in a process, while there are associations: every loop that has some ticks,
/// and whatever the timers did for a connection is handed to that connection's own loop.
final class AssociationTicker: Sendable {
    /// The only one, as there is one usrsctp.
    static let shared = AssociationTicker()

    private struct State {
        var connections: [SCTPHandle: PeerConnection] = [:]
        /// How many associations each loop has, and its timer.
        var loops: [ObjectIdentifier: (count: Int, timer: LoopTimer)] = [:]
        var loopOf: [SCTPHandle: EventLoop] = [:]
    }

    private let state = Mutex(State())

    func add(_ connection: PeerConnection, _ handle: SCTPHandle, loop: EventLoop) {
        let timer: LoopTimer? = state.withLock { state in
            state.connections[handle] = connection
            state.loopOf[handle] = loop
            if let entry = state.loops[ObjectIdentifier(loop)] {
                state.loops[ObjectIdentifier(loop)] = (entry.count + 1, entry.timer)
                return nil
            }
            let timer = loop.makeTimer { [weak loop] in
                if let loop { AssociationTicker.shared.tick(loop) }
            }
            state.loops[ObjectIdentifier(loop)] = (1, timer)
            return timer
        }
        timer?.arm(at: loop.now + SCTPRuntime.tickInterval)
    }

    func remove(_ handle: SCTPHandle) {
        let (connection, timer): (PeerConnection?, LoopTimer?) = state.withLock { state in
            guard let loop = state.loopOf.removeValue(forKey: handle) else { return (nil, nil) }
            let connection = state.connections.removeValue(forKey: handle)
            guard let entry = state.loops[ObjectIdentifier(loop)] else { return (connection, nil) }
            if entry.count > 1 {
                state.loops[ObjectIdentifier(loop)] = (entry.count - 1, entry.timer)
                return (connection, nil)
            }
            state.loops[ObjectIdentifier(loop)] = nil
            return (connection, entry.timer)
        }
        timer?.cancel()
        _ = consume connection
    }

    private func tick(_ loop: EventLoop) {
        for handle in SCTPRuntime.shared.advance(to: loop.now) {
            state.withLock { $0.connections[handle] }?.associationWoke()
        }
        state.withLock { $0.loops[ObjectIdentifier(loop)]?.timer }?.arm(at: loop.now + SCTPRuntime.tickInterval)
    }
}
