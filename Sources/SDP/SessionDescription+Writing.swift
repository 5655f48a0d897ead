// SPDX-License-Identifier: Apache-2.0

extension SessionDescription: CustomStringConvertible {
    /// The description as text, lines ended by CRLF, as RFC 8829 §5.2.1 and §5.3.1 order it.
    public var description: String {
        var text = "v=0\r\no=- \(sessionID) \(sessionVersion) IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
        func attribute(_ line: String) { text += "a=\(line)\r\n" }

        if let dreamer { attribute("dreamer:\(dreamer)") }
        if let linkVersion { attribute("dreamer-link:\(linkVersion)") }
        if isBundled, !isRejected, let mid { attribute("group:BUNDLE \(mid)") }
        if isICELite { attribute("ice-lite") }
        if !iceOptions.isEmpty { attribute("ice-options:" + iceOptions.joined(separator: " ")) }
        attribute("msid-semantic: WMS *")

        var others = otherSections.makeIterator()
        for index in 0...otherSections.count {
            if index == sectionIndex {
                text += dataSection
            } else if let other = others.next() {
                text += SessionDescription.refusal(of: other)
            }
        }
        return text
    }

    private var dataSection: String {
        let destination = isRejected ? nil : CandidateLine.defaultDestination(of: candidates)
        // RFC 8840 §4.1.1: port 9 and 0.0.0.0 stand for "no candidate yet".
        let port = isRejected ? 0 : destination?.port ?? 9
        let address = destination?.address ?? "0.0.0.0"
        var text = ""
        switch profile {
        case .udp: text += "m=application \(port) UDP/DTLS/SCTP webrtc-datachannel\r\n"
        case .tcp: text += "m=application \(port) TCP/DTLS/SCTP webrtc-datachannel\r\n"
        case .sctpmap: text += "m=application \(port) DTLS/SCTP \(sctpPort)\r\n"
        }
        text += "c=IN \(address.utf8.contains(UInt8(ascii: ":")) ? "IP6" : "IP4") \(address)\r\n"
        func attribute(_ line: String) { text += "a=\(line)\r\n" }

        if let mid { attribute("mid:\(mid)") }
        if isRejected { return text }
        attribute("sendrecv")
        attribute("ice-ufrag:\(iceUfrag)")
        attribute("ice-pwd:\(icePwd)")
        for fingerprint in fingerprints { attribute("fingerprint:\(fingerprint.sdp)") }
        attribute("setup:\(setup.rawValue)")
        if let tlsID { attribute("tls-id:\(tlsID)") }
        if profile == .sctpmap {
            attribute("sctpmap:\(sctpPort) webrtc-datachannel 1024")
        } else {
            attribute("sctp-port:\(sctpPort)")
        }
        attribute("max-message-size:\(maxMessageSize)")
        for candidate in candidates { attribute(candidate) }
        if endOfCandidates { attribute("end-of-candidates") }
        return text
    }

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
