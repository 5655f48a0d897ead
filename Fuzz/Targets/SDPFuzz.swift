// SPDX-License-Identifier: Apache-2.0
import SDP
import Wire

/// A description that can be read can be written and then says the same; an offer can be answered. The bytes are read as
/// the out-of-band form of a description, too.
enum SDPFuzz {
    private static let own = SessionDescription.Parameters(
        sessionID: 7, iceUfrag: "abcd", icePwd: "0123456789abcdef0123456789abcdef",
        fingerprints: [.init(algorithm: "sha-256", bytes: [UInt8](repeating: 1, count: 32))],
        candidates: ["candidate:1 1 udp 2130706431 127.0.0.1 1000 typ host"], endOfCandidates: true)

    static func run(_ bytes: [UInt8]) {
        for type in [SessionDescription.Kind.offer, .answer] {
            guard let description = try? SessionDescription(parsing: bytes.span.bytes, type: type) else { continue }
            let again = try? SessionDescription(parsing: description.description, type: type)
            // Of a section that is refused nothing is written but that.
            precondition(
                description.isRejected ? again?.isRejected ?? true : again == description,
                "what was read is written differently")
            if type == .offer, let answer = try? description.answer(own) {
                _ = answer.description
                _ = description.subsequentOffer(own).description
            }
            _ = (description.messageSizeLimit, description.isRejected, description.isICELite)
        }
        let text = String(decoding: bytes, as: UTF8.self)
        _ = try? OutOfBand.decode(text)
        _ = try? Inflate.decompress(bytes, limit: 1 << 16)
    }

    static var seeds: [[UInt8]] {
        let offer = SessionDescription.offer(own)
        let answer = (try? offer.answer(own))?.description ?? ""
        return [
            [UInt8](offer.description.utf8), [UInt8](answer.utf8), [UInt8](OutOfBand.encode(offer).utf8),
            Deflate.compress([UInt8](offer.description.utf8)),
        ]
    }
}
