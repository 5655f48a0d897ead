// SPDX-License-Identifier: Apache-2.0

extension SessionDescription {
    /// What an audio section says where it shares the transport of the data channels (RFC 9143) and could be accepted.
    public struct Audio: Hashable, Sendable {
        /// Which way media goes, seen from the writer (RFC 3264 §6.1).
        public enum Direction: String, CaseIterable, Hashable, Sendable {
            /// Both ways.
            case sendrecv
            /// From the writer alone.
            case sendonly
            /// To the writer alone.
            case recvonly
            /// Neither.
            case inactive

            /// What the other side says to take all that is offered.
            public var reversed: Direction {
                switch self {
                case .sendonly: .recvonly
                case .recvonly: .sendonly
                case .sendrecv, .inactive: self
                }
            }
        }

        /// Who sends what the section describes (RFC 5576).
        public struct Source: Hashable, Sendable {
            /// The SSRC of the RTP packets.
            public var ssrc: UInt32
            /// The sender's name in RTCP, one word.
            public var cname: String

            /// A source from its parts.
            public init(ssrc: UInt32, cname: String) {
                self.ssrc = ssrc
                self.cname = cname
            }
        }

        /// Which way media goes.
        public var direction: Direction
        /// The attributes that say what the formats mean, in order: `rtpmap:111 opus/48000/2` and so on.
        public var formatAttributes: [String]
        /// Who sends, where that is told.
        public var source: Source?

        /// The attributes that are repeated to accept every format as it was offered (RFC 8866 §6).
        static let formatNames: Set<Substring> = ["rtpmap", "fmtp", "ptime", "maxptime"]
        /// RFC 5764 §8: the names of RTP over DTLS-SRTP.
        static let protocols: Set<String> = ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP"]
    }

    /// The first audio section that could be accepted: the one that ``Parameters/audioSource`` accepts in answers.
    public var firstAudio: Audio? { otherSections.lazy.compactMap(\.audio).first }

    /// The sections of an answer: audio that could be accepted is inactive, but the first is accepted if `source` is given;
    /// everything else is refused.
    ///
    /// An inactive section stays in its group, even as the first there (RFC 9143 §7.3.3), and there are stacks that take
    /// no answer with a refused one.
    func answeredSections(_ source: Audio.Source?) -> [OtherSection] {
        var source = source
        return otherSections.map { section in
            guard let offered = section.audio else { return section }
            var answer = section
            answer.audio = Audio(
                direction: source == nil ? .inactive : offered.direction.reversed,
                formatAttributes: offered.formatAttributes, source: source)
            source = nil
            return answer
        }
    }

    /// The identifications of everything that shares the transport, in order of the sections.
    var bundledMids: [String] {
        var mids = otherSections.filter { $0.audio != nil }.map { ($0.index, $0.mid) }
        mids.append((sectionIndex, mid))
        return mids.sorted { $0.0 < $1.0 }.compactMap(\.1)
    }
}

extension SessionDescription.Audio {
    /// Reads a section that is in the BUNDLE group of the data channels; `nil` where it could not be accepted.
    init?(_ section: SDPLines.Section) {
        guard section.media == "audio", Self.protocols.contains(section.proto.uppercased()),
            section.port != 0 || section.value("bundle-only") != nil,
            // RFC 9143 §9.3: RTP and RTCP share the one port.
            section.value("rtcp-mux") != nil
        else { return nil }
        direction = Direction.allCases.first { section.value($0.rawValue) != nil } ?? .sendrecv
        formatAttributes = section.attributes.filter { Self.formatNames.contains($0.name) }
            .map { "\($0.name):\($0.value)" }
        source = section.all("ssrc").lazy.compactMap { Source($0.value) }.first
    }

    /// The lines of the section that are not about the transport.
    var attributes: [String] {
        var lines = [direction.rawValue, "rtcp-mux"] + formatAttributes
        if let source {
            // RFC 8830: one track of no stream.
            lines += ["ssrc:\(source.ssrc) cname:\(source.cname)", "msid:- \(source.cname)"]
        }
        return lines
    }
}

extension SessionDescription.Audio.Source {
    /// Reads `<ssrc> cname:<name>` (RFC 5576 §4.1, §6.1).
    init?(_ value: Substring) {
        let words = value.split(separator: " ")
        guard words.count == 2, let ssrc = UInt32(words[0]), words[1].hasPrefix("cname:") else { return nil }
        let name = words[1].dropFirst("cname:".utf8.count)
        guard !name.isEmpty else { return nil }
        (self.ssrc, cname) = (ssrc, String(name))
    }
}
