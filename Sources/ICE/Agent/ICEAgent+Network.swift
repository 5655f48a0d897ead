// SPDX-License-Identifier: Apache-2.0
public import Wire

// The host's network changes while the agent runs:
//
//     an address comes ─▶ addLocalAddress: candidates, while the peer still expects some; else a restart
//     an address goes ─▶ removeLocalAddress: its pairs fail at once ─another works─▶ that one
//                                                                  └─it was nominated─▶ disconnected: a restart
extension ICEAgent {
    /// Tells that the host has an address no more: nothing is sent from it or awaited at it. Where the nominated pair
    /// used it the state is ``State/disconnected`` at once, which a restart ends (RFC 8445 §9); without one consent
    /// runs out.
    public mutating func removeLocalAddress(_ address: SocketAddress, now: Timestamp) {
        clock = max(clock, now)
        guard !hasEnded, sockets.contains(address) else { return }
        sockets.removeAll { $0 == address }
        note(.localAddressGone(address))
        var gone: Set<Int> = []
        let hasOthers = sockets.contains { $0.ip == address.ip }
        for base in bases.indices where bases[base].relay == nil {
            guard bases[base].tcp == nil ? bases[base].address == address : bases[base].address.ip == address.ip && !hasOthers
            else { continue }
            bases[base].isGone = true
            gone.insert(base)
            for request in gathering.drop(base: base) {
                transactions.removeAll { $0.purpose == .gather(request: request) }
                note(.serverFailed(gathering.requests[request].server, from: address, .unreachable))
            }
        }
        closeStreams(ofBases: gone)
        for index in relays.indices {
            let isStreams = relays[index].isStream && relays[index].local?.ip == address.ip && !hasOthers
            guard isStreams || relays[index].socket == address else { continue }
            for base in relays[index].bases {
                bases[base].isGone = true
                gone.insert(base)
            }
            relays[index].client.disconnected(.unreachable, now: clock)
            pumpRelay(index)
        }
        failPairs(.unreachable) { base, _ in gone.contains(base) }
        if isConcluded, let selected, let pair = checklist[id: selected], gone.contains(pair.base) {
            setState(.disconnected)
        }
    }

    /// Whether the pair that data goes to has lost its address, or its connection for good, so that only a restart
    /// helps.
    public var needsRestart: Bool {
        guard !hasEnded, let selected, let pair = checklist[id: selected] else { return false }
        return bases[pair.base].isGone || hasFailedToReopen
    }
}
