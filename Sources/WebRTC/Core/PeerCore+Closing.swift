// SPDX-License-Identifier: Apache-2.0
import DTLS
import ICE
import SCTP
public import Wire

//     close ──▶ nothing more is accepted ──the peer has acknowledged all of it──▶ close_notify, closed
//     close_notify of the peer ──▶ what had arrived is read ──▶ closed
//     abort ──▶ ABORT, close_notify, closed

/// How far a connection is with its end.
struct Closing: Sendable {
    /// Without progress for so long the peer is taken for dead.
    static let patience = Duration.seconds(10)

    /// Whether the end was asked for and waits for what was accepted before.
    var isWanted = false
    /// Whether the peer has ended the connection, and what came before waits to be read.
    var peerHasClosed = false
    /// The least that was outstanding so far.
    var least = Int.max
    /// When the wait ends.
    var deadline: Timestamp?
}

extension PeerCore {
    /// Ends the connection once all that was accepted for sending has arrived at the peer, or at once where nothing is
    /// outstanding; what tells the peer waits in the next drain. Nothing can be sent from now on. A peer that
    /// acknowledges nothing for ten seconds is left. Repeated calls are harmless.
    public mutating func close(now: Timestamp) {
        guard state != .closed, !closing.isWanted else { return }
        // Channels may be open before the plain association is up.
        guard isDTLSConnected, state != .failed, !closing.peerHasClosed else { return abort() }
        closing.isWanted = true
        closing.deadline = now + Closing.patience
        settleClosing(now: now)
    }

    /// Ends the connection at once; what is on its way is lost. Repeated calls are harmless.
    public mutating func abort() {
        guard state != .closed else { return }
        end(isAborting: true)
        setState(.closed)
    }

    /// Ends the connection if there is nothing left to wait for.
    mutating func settleClosing(now: Timestamp) {
        guard closing.isWanted, state != .closed, state != .failed else { return }
        let outstanding = (channels.peek { $0.outstanding } ?? 0) + (recovered.peek { $0.outstanding } ?? 0)
        if outstanding < closing.least {
            closing.least = outstanding
            closing.deadline = now + Closing.patience
        }
        if outstanding == 0 {
            // The peer has everything, and an ABORT might outrun its reading.
            end(isAborting: false)
            setState(.closed)
        } else if let deadline = closing.deadline, now >= deadline {
            abort()
        }
    }

    /// Ends the connection that the peer has ended once all that came before is read.
    mutating func settlePeersClosing() {
        guard closing.peerHasClosed, state != .closed else { return }
        guard !(channels.peek { $0.mayHaveEvents } ?? false), !(recovered.peek { $0.mayHaveEvents } ?? false) else {
            return
        }
        end(isAborting: false)
        setState(.closed)
    }

    mutating func end(isAborting: Bool) {
        if let handle = channels?.handle {
            channels?.abort()
            if isAborting { sendPlainPackets() }
            events.append(.associationEnded(handle))
        }
        for handle in recovered?.end() ?? [] { events.append(.associationEnded(handle)) }
        recovered = nil
        for key in Set(channelOf.keys).union(pending.map(\.key)).sorted(by: { $0.number < $1.number }) {
            events.append(.channelClosed(key))
        }
        channels = nil
        keyOf = [:]
        channelOf = [:]
        pending = []
        early = []
        closing.deadline = nil
        dtls?.close()
        // Nothing answers a close_notify, so nobody would notice that it is lost: it goes three times.
        dtls?.withOutgoing { waiting in
            guard !waiting.isEmpty else { return }
            let last = [UInt8](copying: waiting[waiting.count - 1])
            for _ in 0..<2 { waiting.append(last.span.bytes) }
        }
        ice?.close()
        closeAgent(restart.offered.take())
        closeAgent(restart.previous.take())
        restart = ICERestart()
        remoteNames = RemoteNames()
        pumpICE()
    }
}
