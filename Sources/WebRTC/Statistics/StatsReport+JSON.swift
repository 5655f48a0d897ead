// SPDX-License-Identifier: Apache-2.0
public import Wire

extension StatsReport {
    /// Every object with its `id`, `type` and `timestamp`, as a browser's `[...report.values()]` has them.
    public var json: JSON {
        var objects = [peerConnection.members, transport.members]
        objects += certificates.map(\.members)
        objects += localCandidates.map { $0.members("local-candidate") }
        objects += remoteCandidates.map { $0.members("remote-candidate") }
        objects += candidatePairs.map(\.members)
        objects += dataChannels.map(\.members)
        return .array(
            objects.map { members in
                var object = JSON.Object()
                object["timestamp"] = .number(timestamp)
                for (name, value) in members { object[name] = value }
                return .object(object)
            })
    }
}

/// Members in the order in which they are written; `nil` ones are left out.
private typealias Members = [(String, JSON?)]

private func number(_ value: UInt64?) -> JSON? { value.map { .integer(Int64(clamping: $0)) } }
private func text(_ value: String?) -> JSON? { value.map { .string($0) } }

extension StatsReport.PeerConnection {
    fileprivate var members: Members {
        [
            ("id", text(id)), ("type", "peer-connection"), ("dataChannelsOpened", number(dataChannelsOpened)),
            ("dataChannelsClosed", number(dataChannelsClosed)),
        ]
    }
}

extension StatsReport.Transport {
    fileprivate var members: Members {
        [
            ("id", text(id)), ("type", "transport"), ("packetsSent", number(packetsSent)),
            ("packetsReceived", number(packetsReceived)), ("bytesSent", number(bytesSent)),
            ("bytesReceived", number(bytesReceived)), ("iceRole", text(iceRole)),
            ("iceLocalUsernameFragment", text(iceLocalUsernameFragment)), ("iceState", text(iceState)),
            ("dtlsState", text(dtlsState)), ("dtlsRole", text(dtlsRole)),
            ("selectedCandidatePairId", text(selectedCandidatePairId)),
            ("selectedCandidatePairChanges", number(selectedCandidatePairChanges)),
            ("localCertificateId", text(localCertificateId)), ("remoteCertificateId", text(remoteCertificateId)),
        ]
    }
}

extension StatsReport.Certificate {
    fileprivate var members: Members {
        [
            ("id", text(id)), ("type", "certificate"), ("fingerprint", text(fingerprint)),
            ("fingerprintAlgorithm", text(fingerprintAlgorithm)), ("base64Certificate", text(base64Certificate)),
        ]
    }
}

extension StatsReport.Candidate {
    fileprivate func members(_ type: String) -> Members {
        [
            ("id", text(id)), ("type", text(type)), ("transportId", text(transportId)), ("address", text(address)),
            ("port", number(UInt64(port))), ("protocol", text(self.protocol)), ("candidateType", text(candidateType)),
            ("priority", number(UInt64(priority))), ("foundation", text(foundation)),
            ("relatedAddress", text(relatedAddress)), ("relatedPort", number(relatedPort.map(UInt64.init))),
            ("usernameFragment", text(usernameFragment)), ("tcpType", text(tcpType)),
        ]
    }
}

extension StatsReport.CandidatePair {
    fileprivate var members: Members {
        [
            ("id", text(id)), ("type", "candidate-pair"), ("transportId", text(transportId)),
            ("localCandidateId", text(localCandidateId)), ("remoteCandidateId", text(remoteCandidateId)),
            ("state", text(state)), ("nominated", .bool(nominated)),
            ("currentRoundTripTime", currentRoundTripTime.map { .number($0) }),
            ("totalRoundTripTime", .number(totalRoundTripTime)), ("requestsSent", number(requestsSent)),
            ("requestsReceived", number(requestsReceived)), ("responsesSent", number(responsesSent)),
            ("responsesReceived", number(responsesReceived)), ("consentRequestsSent", number(consentRequestsSent)),
            ("packetsSent", number(packetsSent)), ("packetsReceived", number(packetsReceived)),
            ("bytesSent", number(bytesSent)), ("bytesReceived", number(bytesReceived)),
        ]
    }
}

extension StatsReport.DataChannel {
    fileprivate var members: Members {
        [
            ("id", text(id)), ("type", "data-channel"), ("label", text(label)), ("protocol", text(self.protocol)),
            ("dataChannelIdentifier", number(dataChannelIdentifier.map(UInt64.init))), ("state", text(state)),
            ("messagesSent", number(messagesSent)), ("bytesSent", number(bytesSent)),
            ("messagesReceived", number(messagesReceived)), ("bytesReceived", number(bytesReceived)),
        ]
    }
}
