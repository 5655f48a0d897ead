// SPDX-License-Identifier: Apache-2.0

private import Wire

extension SessionDescription {
    /// Reads a description. The first section that offers data channels counts; ICE and DTLS attributes are taken from
    /// it, or else from the session, or else from the first section of its BUNDLE group (RFC 9143 §7.1.3: they need not
    /// be repeated). At most 64 KiB.
    public init(parsing text: String, type: Kind) throws(SDPError) {
        try self.init(lines: SDPLines(text), type: type)
    }

    /// Reads a description from bytes, which have to be UTF-8 as far as anything depends on them.
    public init(parsing bytes: RawSpan, type: Kind) throws(SDPError) {
        guard bytes.byteCount <= SDPLines.longestText else { throw SDPError(.tooLarge) }
        try self.init(parsing: String(decoding: [UInt8](copying: bytes), as: UTF8.self), type: type)
    }

    private init(lines: SDPLines, type: Kind) throws(SDPError) {
        guard let index = lines.sections.firstIndex(where: { SectionReader.profile(of: $0) != nil }),
            let profile = SectionReader.profile(of: lines.sections[index])
        else { throw SDPError(.noDataChannels) }
        let reader = SectionReader(lines: lines, index: index)
        let section = lines.sections[index]

        self.type = type
        self.profile = profile
        sectionIndex = index
        sessionID = lines.sessionID
        sessionVersion = lines.sessionVersion
        dreamer = lines.session.first { $0.name == "dreamer" }.flatMap { DreamerAttribute(sdp: $0.value) }
        linkVersion = lines.session.first { $0.name == "dreamer-link" }.flatMap { Int($0.value) }
        otherSections = lines.sections.enumerated().filter { $0.offset != index }.map { offset, section in
            OtherSection(
                index: offset, media: String(section.media), proto: String(section.proto),
                formats: section.formats.joined(separator: " "), mid: section.value("mid").map { String($0.value) },
                audio: reader.audio(section))
        }
        mid = section.value("mid").map { String($0.value) }
        isBundled = reader.isBundled
        // RFC 9143 §6: port 0 with bundle-only is no refusal.
        isRejected = section.port == 0 && !(isBundled && section.value("bundle-only") != nil)
        isICELite = lines.session.contains { $0.name == "ice-lite" }
        icePacing = lines.session.first { $0.name == "ice-pacing" }.flatMap { Self.pacing($0.value) }
        // RFC 8839 §5.6 separates by spaces, libdatachannel by commas.
        iceOptions = reader.values("ice-options").first?.value.split { $0 == " " || $0 == "," }.map(String.init) ?? []
        guard !isRejected else {
            // A refused section says nothing else that counts, and nothing can share its transport.
            for index in otherSections.indices { otherSections[index].audio = nil }
            (iceUfrag, icePwd, fingerprints, setup, sctpPort) = ("", "", [], .actpass, 0)
            (candidates, endOfCandidates, tlsID, maxMessageSize) = ([], false, nil, Self.defaultMaxMessageSize)
            return
        }
        candidates = reader.candidates
        endOfCandidates = !reader.values("end-of-candidates").isEmpty
        tlsID = reader.values("tls-id").first.map { String($0.value) }
        maxMessageSize = reader.maxMessageSize
        iceUfrag = try reader.iceString("ice-ufrag", lengths: 4...256)
        icePwd = try reader.iceString("ice-pwd", lengths: 22...256)
        fingerprints = try reader.fingerprints()
        setup = try reader.setup(type)
        sctpPort = try reader.sctpPort(profile)
    }

    /// RFC 8839 §5.5: one to ten digits.
    private static func pacing(_ value: Substring) -> Int? {
        guard (1...10).contains(value.utf8.count), value.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return nil
        }
        return Int(value)
    }
}

/// Finds the attributes of the section for data channels.
private struct SectionReader {
    let lines: SDPLines
    let section: SDPLines.Section
    /// The section that carries the transport attributes of the BUNDLE group, if that is another.
    let tagged: SDPLines.Section?
    let isBundled: Bool
    /// The identifications in that group.
    let group: [Substring]

    /// What is kept of the values of one kind, at most.
    private static let mostCandidates = 256
    private static let mostFingerprints = 16
    private static let longestCandidate = 1024

    init(lines: SDPLines, index: Int) {
        self.lines = lines
        section = lines.sections[index]
        let mid = section.value("mid")?.value
        // a=group:BUNDLE <mid> … (RFC 9143 §5); the first is the tagged one.
        let groups = lines.session.filter { $0.name == "group" }.map { $0.value.split(separator: " ") }
        let group = groups.first { group in group.first == "BUNDLE" && group.dropFirst().contains { $0 == mid } }
        isBundled = group != nil
        self.group = group.map { Array($0.dropFirst()) } ?? []
        let first = group?.dropFirst().first
        tagged = first == mid ? nil : lines.sections.first { first != nil && $0.value("mid")?.value == first }
    }

    /// Whether a section offers data channels, and in which words.
    static func profile(of section: SDPLines.Section) -> SessionDescription.Profile? {
        guard section.media == "application", section.formats.count == 1, let format = section.formats.first else {
            return nil
        }
        switch section.proto.uppercased() {
        case "UDP/DTLS/SCTP" where format == "webrtc-datachannel": return .udp
        case "TCP/DTLS/SCTP" where format == "webrtc-datachannel": return .tcp
        case "DTLS/SCTP" where format == "webrtc-datachannel": return .sctpmap
        case "DTLS/SCTP", "UDP/DTLS/SCTP":
            // The format is the SCTP port, and a=sctpmap:<port> <application> … says what runs there.
            let map = section.value("sctpmap")?.value.split(separator: " ")
            return map?.count ?? 0 >= 2 && map?[0] == format && map?[1] == "webrtc-datachannel" ? .sctpmap : nil
        default: return nil
        }
    }

    /// The attributes of a name at the level that counts.
    func values(_ name: String) -> [SDPLines.Attribute] {
        let own = section.all(name)
        guard own.isEmpty else { return own }
        let session = lines.session.filter { $0.name == name }
        return session.isEmpty ? tagged?.all(name) ?? [] : session
    }

    /// What another section says, if it is about audio and shares the transport of this one.
    func audio(_ other: SDPLines.Section) -> SessionDescription.Audio? {
        guard let mid = other.value("mid")?.value, mid != section.value("mid")?.value, group.contains(mid) else {
            return nil
        }
        return SessionDescription.Audio(other)
    }

    /// Candidates of the section, or of the one that carries the transport. Longer ones and those past the bound are
    /// left out.
    var candidates: [String] {
        values("candidate").prefix(Self.mostCandidates)
            .filter { $0.value.utf8.count <= Self.longestCandidate }
            .map { "candidate:\($0.value)" }
    }

    var maxMessageSize: UInt64 {
        guard let value = section.value("max-message-size")?.value, !value.isEmpty,
            value.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return SessionDescription.defaultMaxMessageSize }
        return UInt64(value) ?? .max
    }

    /// A user fragment or a password. RFC 8839 §5.4 bounds the length; other printable characters than it names are let
    /// pass, because some stacks use them.
    func iceString(_ name: String, lengths: ClosedRange<Int>) throws(SDPError) -> String {
        guard let attribute = values(name).first else { throw SDPError(.missing("a=\(name)"), line: section.line) }
        guard lengths.contains(attribute.value.utf8.count),
            attribute.value.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else { throw SDPError(.invalid("a=\(name)"), line: attribute.line) }
        return String(attribute.value)
    }

    func fingerprints() throws(SDPError) -> [SessionDescription.Fingerprint] {
        let attributes = values("fingerprint")
        guard let first = attributes.first else { throw SDPError(.missing("a=fingerprint"), line: section.line) }
        let fingerprints = attributes.prefix(Self.mostFingerprints).compactMap {
            SessionDescription.Fingerprint(sdp: $0.value)
        }
        guard !fingerprints.isEmpty else { throw SDPError(.invalid("a=fingerprint"), line: first.line) }
        return fingerprints
    }

    func setup(_ type: SessionDescription.Kind) throws(SDPError) -> SessionDescription.Setup {
        // RFC 4145 §4: without the attribute the offerer is active and the answerer passive.
        guard let attribute = values("setup").first else { return type == .offer ? .active : .passive }
        guard let setup = SessionDescription.Setup(rawValue: attribute.value.lowercased()),
            type == .offer || setup != .actpass
        else { throw SDPError(.invalid("a=setup"), line: attribute.line) }
        return setup
    }

    func sctpPort(_ profile: SessionDescription.Profile) throws(SDPError) -> UInt16 {
        if let attribute = section.value("sctp-port") {
            guard let port = UInt16(attribute.value) else {
                throw SDPError(.invalid("a=sctp-port"), line: attribute.line)
            }
            return port
        }
        // RFC 8841 §5.1: no default. Only the old form has the port in the m= line.
        guard profile == .sctpmap, let port = section.formats.first.flatMap({ UInt16($0) }) else {
            throw SDPError(.missing("a=sctp-port"), line: section.line)
        }
        return port
    }
}

extension SessionDescription.Fingerprint {
    /// What stands after `a=fingerprint:`: a name, a space, bytes in hexadecimal between colons; small letters are read
    /// too.
    public init?(sdp value: some StringProtocol) {
        let words = value.split(separator: " ")
        guard words.count == 2 else { return nil }
        var bytes: [UInt8] = []
        for octet in words[1].utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false) {
            guard octet.count == 2, bytes.count < 64, octet.first != UInt8(ascii: "+"),
                let byte = UInt8(String(decoding: octet, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(byte)
        }
        self.init(algorithm: words[0].lowercased(), bytes: bytes)
    }

    /// What stands after `a=fingerprint:`.
    public var sdp: String {
        let digits = Array("0123456789ABCDEF".utf8)
        var text: [UInt8] = []
        for byte in bytes {
            if !text.isEmpty { text.append(UInt8(ascii: ":")) }
            text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
        return "\(algorithm) \(String(decoding: text, as: UTF8.self))"
    }
}
