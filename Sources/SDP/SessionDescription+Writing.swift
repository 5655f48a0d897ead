// SPDX-License-Identifier: Apache-2.0

extension SessionDescription: CustomStringConvertible {
    /// The description as text, lines ended by CRLF, as RFC 8829 §5.2.1 and §5.3.1 order it.
    public var description: String {
        var text = "v=0\r\no=- \(sessionID) \(sessionVersion) IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
        func attribute(_ line: String) { text += "a=\(line)\r\n" }

        if let dreamer { attribute("dreamer:\(dreamer)") }
        if let linkVersion { attribute("dreamer-link:\(linkVersion)") }
        if isBundled, !isRejected { attribute("group:BUNDLE " + bundledMids.joined(separator: " ")) }
        if isICELite { attribute("ice-lite") }
        if let icePacing { attribute("ice-pacing:\(icePacing)") }
        if !iceOptions.isEmpty { attribute("ice-options:" + iceOptions.joined(separator: " ")) }
        attribute("msid-semantic: WMS *")

        var others = otherSections.makeIterator()
        for index in 0...otherSections.count {
            if index == sectionIndex {
                text += dataSection
            } else if let other = others.next() {
                text += other.audio.map { section(other, $0) } ?? SessionDescription.refusal(of: other)
            }
        }
        return text
    }

    private var dataSection: String {
        let (port, connection) = isRejected ? (0, "IN IP4 0.0.0.0") : destination
        var text = ""
        switch profile {
        case .udp: text += "m=application \(port) UDP/DTLS/SCTP webrtc-datachannel\r\n"
        case .tcp: text += "m=application \(port) TCP/DTLS/SCTP webrtc-datachannel\r\n"
        case .sctpmap: text += "m=application \(port) DTLS/SCTP \(sctpPort)\r\n"
        }
        text += "c=\(connection)\r\n"
        func attribute(_ line: String) { text += "a=\(line)\r\n" }

        if let mid { attribute("mid:\(mid)") }
        if isRejected { return text }
        attribute("sendrecv")
        for line in securityAttributes { attribute(line) }
        if profile == .sctpmap {
            attribute("sctpmap:\(sctpPort) webrtc-datachannel 1024")
        } else {
            attribute("sctp-port:\(sctpPort)")
        }
        attribute("max-message-size:\(maxMessageSize)")
        for line in candidateAttributes { attribute(line) }
        return text
    }

    /// An accepted section. RFC 9143 §7.1.3 has the transport described in the first section of the group alone;
    /// browsers repeat it in each, and there are stacks that look for it there.
    private func section(_ section: OtherSection, _ audio: Audio) -> String {
        let (port, connection) = destination
        var text = "m=\(section.media) \(port) \(section.proto) \(section.formats)\r\nc=\(connection)\r\n"
        let mid = section.mid.map { ["mid:\($0)"] } ?? []
        for line in mid + securityAttributes + audio.attributes + candidateAttributes { text += "a=\(line)\r\n" }
        return text
    }

    /// The port of the default candidate and the value of a `c=` line.
    private var destination: (port: Int, connection: String) {
        let destination = CandidateLine.defaultDestination(of: candidates)
        // RFC 8840 §4.1.1: port 9 and 0.0.0.0 stand for "no candidate yet".
        let address = destination?.address ?? "0.0.0.0"
        return (
            destination?.port ?? 9, "IN \(address.utf8.contains(UInt8(ascii: ":")) ? "IP6" : "IP4") \(address)"
        )
    }

    /// What says how to reach the writer and how to know it.
    private var securityAttributes: [String] {
        var lines = ["ice-ufrag:\(iceUfrag)", "ice-pwd:\(icePwd)"]
        lines += fingerprints.map { "fingerprint:\($0.sdp)" }
        lines.append("setup:\(setup.rawValue)")
        if let tlsID { lines.append("tls-id:\(tlsID)") }
        return lines
    }

    private var candidateAttributes: [String] { candidates + (endOfCandidates ? ["end-of-candidates"] : []) }

    /// RFC 3264 §6: port 0, everything else repeated. RFC 9143 §7.3.3 keeps it out of the group.
    private static func refusal(of section: OtherSection) -> String {
        var text = "m=\(section.media) 0 \(section.proto) \(section.formats)\r\nc=IN IP4 0.0.0.0\r\n"
        if let mid = section.mid { text += "a=mid:\(mid)\r\n" }
        return text + "a=inactive\r\n"
    }
}

/// What the `m=` and `c=` lines need to know of a candidate (RFC 8839 §5.1):
/// `candidate:<foundation> <component> <transport> <priority> <address> <port> typ <type> …`.
struct CandidateLine {
    var address: String
    var port: Int
    /// Higher is likelier to work (RFC 8839 §4.2.1.2).
    private var rank: Int

    private init?(_ line: String) {
        let words = line.split(separator: " ")
        guard words.count >= 8, words[1] == "1", words[2].lowercased() == "udp", words[6] == "typ",
            let port = Int(words[5]), (1...65_535).contains(port)
        else { return nil }
        address = String(words[4])
        self.port = port
        let isIPv6 = address.utf8.contains(UInt8(ascii: ":"))
        let isIPv4 = address.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || $0 == UInt8(ascii: ".") }
        guard isIPv6 || isIPv4 else { return nil }  // a name of mDNS is no address for a c= line
        switch words[7] {
        case "relay": rank = 6
        case "srflx", "prflx": rank = 4
        default: rank = 2
        }
        if isIPv4 { rank += 1 }
    }

    /// The default candidate: relayed before reflexive before host, IPv4 before IPv6, and the first of equals.
    static func defaultDestination(of candidates: [String]) -> CandidateLine? {
        var best: CandidateLine?
        for candidate in candidates.lazy.compactMap({ CandidateLine($0) }) where candidate.rank > best?.rank ?? 0 {
            best = candidate
        }
        return best
    }
}
