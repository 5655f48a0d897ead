// SPDX-License-Identifier: Apache-2.0
import DTLS
import Hashing
import ICE
import SCTP
import SDP
public import Wire

/// What the core counts for statistics alone.
struct StatsLedger: Sendable {
    /// A channel that is not closed.
    struct Channel: Sendable {
        let label: String
        let subprotocol: String
        var state = "connecting"
        var messagesSent: UInt64 = 0
        var bytesSent: UInt64 = 0
        var messagesReceived: UInt64 = 0
        var bytesReceived: UInt64 = 0
    }

    var channels: [PeerCore.ChannelKey: Channel] = [:]
    var opened: UInt64 = 0
    var closed: UInt64 = 0
    /// The traffic before the selected pair was selected.
    var beforePair = TransportCounters()
    var pairChanges: UInt64 = 0

    mutating func sent(on key: PeerCore.ChannelKey, _ count: Int) {
        channels[key]?.messagesSent &+= 1
        channels[key]?.bytesSent &+= UInt64(count)
    }

    mutating func received(on key: PeerCore.ChannelKey, _ count: Int) {
        channels[key]?.messagesReceived &+= 1
        channels[key]?.bytesReceived &+= UInt64(count)
    }

    /// Follows what is told about channels and pairs.
    mutating func note(_ event: PeerCore.Event, _ transport: TransportCounters) {
        switch event {
        case .channelOpened(let key):
            channels[key]?.state = "open"
            opened += 1
        case .incomingChannel(let key, let label, let options):
            channels[key] = Channel(label: label, subprotocol: options.subprotocol, state: "open")
            opened += 1
        case .channelClosed(let key):
            if let channel = channels.removeValue(forKey: key), channel.state != "connecting" { closed += 1 }
        case .selectedPair:
            beforePair = transport
            pairChanges += 1
        default: break
        }
    }
}

extension PeerCore {
    /// A snapshot of what is counted, under W3C's names.
    public mutating func stats(now: Timestamp) -> StatsReport {
        // Changes nothing, see ``localDescription``.
        let own = configuration.certificate
        var certificates = [StatsReport.Certificate(id: "certificate-local", der: own.der)]
        if let der = remoteCertificate { certificates.append(.init(id: "certificate-remote", der: der)) }
        let pairs = (ice.peek { $0.candidatePairs } ?? [])
        let selected = ice.peek { $0.selectedPair?.name.id } ?? nil
        let localUfrag = ice.peek { $0.localCredentials.ufrag } ?? ""
        let remoteUfrag = ice.peek { $0.remoteCredentials?.ufrag } ?? nil
        // Peer-reflexive candidates of pairs are among the agent's candidates.
        let locals = ice.peek { $0.localCandidates } ?? []
        let remotes = ice.peek { $0.remoteCandidates } ?? []
        var pairStats: [StatsReport.CandidatePair] = []
        for pair in pairs { pairStats.append(self.pairStats(pair, isSelected: pair.name.id == selected)) }
        return StatsReport(
            timestamp: Double(now.nanoseconds) / 1e6,
            peerConnection: .init(
                id: "peer-connection", dataChannelsOpened: ledger.opened, dataChannelsClosed: ledger.closed),
            transport: transportStats(localUfrag, selected: selected),
            certificates: certificates,
            localCandidates: locals.map { .init($0, side: "local", ufrag: localUfrag) },
            remoteCandidates: remotes.map { .init($0, side: "remote", ufrag: remoteUfrag) },
            candidatePairs: pairStats,
            dataChannels: ledger.channels.sorted { $0.key.number < $1.key.number }.map { key, channel in
                StatsReport.DataChannel(
                    id: "channel-\(key.number)", label: channel.label, protocol: channel.subprotocol,
                    dataChannelIdentifier: channelOf[key].flatMap { $0.carrier == .plain ? $0.id.rawValue : nil },
                    state: channel.state,
                    messagesSent: channel.messagesSent, bytesSent: channel.bytesSent,
                    messagesReceived: channel.messagesReceived, bytesReceived: channel.bytesReceived)
            })
    }

    private mutating func transportStats(_ ufrag: String, selected: Int?) -> StatsReport.Transport {
        let dtlsState =
            switch dtls.peek({ $0.state }) {
            case nil, .new: "new"
            case .handshaking, .unverified: "connecting"
            case .connected: "connected"
            case .closed: "closed"
            case .failed: "failed"
            }
        let role = dtls.peek { $0.role }
        return StatsReport.Transport(
            id: "transport", packetsSent: transport.packetsSent, packetsReceived: transport.packetsReceived,
            bytesSent: transport.bytesSent, bytesReceived: transport.bytesReceived,
            iceRole: ice.peek { $0.role.rawValue } ?? "unknown", iceLocalUsernameFragment: ufrag,
            iceState: ice.peek { $0.state.rawValue } ?? "new", dtlsState: state == .closed ? "closed" : dtlsState,
            dtlsRole: role.map { $0 == .client ? "client" : "server" } ?? "unknown",
            selectedCandidatePairId: selected.map { "pair-\(ufrag)-\($0)" },
            selectedCandidatePairChanges: ledger.pairChanges, localCertificateId: "certificate-local",
            remoteCertificateId: remoteCertificate == nil ? nil : "certificate-remote")
    }

    private mutating func pairStats(_ pair: ICECandidatePair, isSelected: Bool) -> StatsReport.CandidatePair {
        let localUfrag = ice.peek { $0.localCredentials.ufrag } ?? ""
        let remoteUfrag = ice.peek { $0.remoteCredentials?.ufrag } ?? nil
        let counters = ice.peek { $0.counters(ofPair: pair.name.id) } ?? .init()
        var stats = StatsReport.CandidatePair(
            id: "pair-\(localUfrag)-\(pair.name.id)", transportId: "transport",
            localCandidateId: StatsReport.Candidate.id(pair.local, side: "local", ufrag: localUfrag),
            remoteCandidateId: StatsReport.Candidate.id(pair.remote, side: "remote", ufrag: remoteUfrag),
            state: pair.state == .inProgress ? "in-progress" : pair.state.rawValue, nominated: pair.isNominated,
            currentRoundTripTime: pair.roundTripTime?.inSeconds,
            totalRoundTripTime: counters.totalRoundTripTime.inSeconds, requestsSent: counters.requestsSent,
            requestsReceived: counters.requestsReceived, responsesSent: counters.responsesSent,
            responsesReceived: counters.responsesReceived,
            consentRequestsSent: counters.consentRequestsSent)
        if isSelected {
            stats.packetsSent = transport.packetsSent &- ledger.beforePair.packetsSent
            stats.packetsReceived = transport.packetsReceived &- ledger.beforePair.packetsReceived
            stats.bytesSent = transport.bytesSent &- ledger.beforePair.bytesSent
            stats.bytesReceived = transport.bytesReceived &- ledger.beforePair.bytesReceived
        }
        return stats
    }
}

extension Duration {
    fileprivate var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }
}

extension StatsReport.Candidate {
    fileprivate static func id(_ candidate: ICECandidate, side: String, ufrag: String?) -> String {
        let place = candidate.address.map { $0.description } ?? "name:\(candidate.port)"
        return "\(side)-\(ufrag ?? "")-\(candidate.foundation)-\(place)"
    }

    fileprivate init(_ candidate: ICECandidate, side: String, ufrag: String?) {
        let address =
            switch candidate.host {
            case .address(let ip): ip.withoutScope.description
            case .name(let name): name
            }
        self.init(
            id: Self.id(candidate, side: side, ufrag: ufrag), transportId: "transport", address: address,
            port: candidate.port, protocol: candidate.transport.rawValue, candidateType: candidate.kind.rawValue,
            priority: candidate.priority, foundation: candidate.foundation,
            relatedAddress: candidate.relatedAddress?.ip.withoutScope.description,
            relatedPort: candidate.relatedAddress?.port, usernameFragment: ufrag, tcpType: candidate.tcpType?.rawValue)
    }
}

extension StatsReport.Certificate {
    fileprivate init(id: String, der: [UInt8]) {
        let fingerprint = SessionDescription.Fingerprint(algorithm: "sha-256", bytes: SHA256.hash(der))
        self.init(
            id: id, fingerprint: String(fingerprint.sdp.dropFirst("sha-256 ".count)), fingerprintAlgorithm: "sha-256",
            base64Certificate: Self.base64(der))
    }

    /// RFC 4648 §4.
    private static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(0) { $0 << 8 | UInt32($1) } << (8 * UInt32(3 - group.count))
            for index in 0..<4 {
                let isPadding = index > group.count
                text.append(isPadding ? UInt8(ascii: "=") : alphabet[Int(bits >> (18 - 6 * UInt32(index))) & 63])
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
