// SPDX-License-Identifier: Apache-2.0

private import Wire

/// Descriptions that people carry: `dreamer1:` followed by base64url, without padding, of the raw-deflated JSON
/// `{"type": …, "sdp": …}`. Short enough to paste, and to read from a QR code.
public enum OutOfBand {
    /// Why text is no description carried by hand.
    public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// The text does not begin with `dreamer1:`.
        case notDreamer
        /// Characters that are not base64url.
        case invalidBase64
        /// The compressed bytes are damaged.
        case invalidCompression(InflateError)
        /// What was compressed is no JSON object.
        case invalidJSON
        /// The description itself is at fault.
        case invalidDescription(SDPError)

        /// The fault in words.
        public var description: String {
            switch self {
            case .notDreamer: "this text does not begin with dreamer1:"
            case .invalidBase64: "the text after dreamer1: holds characters that do not belong there"
            case .invalidCompression(.truncated): "the text is incomplete: its end is missing"
            case .invalidCompression(.malformed): "the text is damaged"
            case .invalidCompression(.tooLarge): "the text holds more than 64 KiB"
            case .invalidJSON: "the text holds no session description"
            case .invalidDescription(let error): error.description
            }
        }
    }

    /// What such text begins with.
    public static let prefix = "dreamer1:"
    /// The longest JSON text, in bytes.
    public static let longestInflated = 65_536
    /// The longest text, in characters, that is looked at: base64 of deflate that did not compress at all.
    private static let longestText = 98_304

    /// The text for a description.
    public static func encode(_ description: SessionDescription) -> String {
        prefix + Base64URL.encode(Deflate.compress(Array(description.json.serialized().utf8)))
    }

    /// The description that a text stands for. White space is ignored wherever it stands, since terminals and mail
    /// break lines.
    public static func decode(_ text: String) throws(Failure) -> SessionDescription {
        guard text.utf8.count <= longestText else { throw .invalidCompression(.tooLarge) }
        let characters = text.utf8.filter { $0 > 0x20 }
        guard characters.starts(with: prefix.utf8) else { throw .notDreamer }
        guard let compressed = Base64URL.decode(characters.dropFirst(prefix.utf8.count)) else { throw .invalidBase64 }
        let bytes: [UInt8]
        do { bytes = try Inflate.decompress(compressed, limit: longestInflated) } catch {
            throw .invalidCompression(error)
        }
        let json: JSON
        do { json = try JSON(parsing: bytes.span.bytes, limits: JSON.Limits(depth: 8, values: 256)) } catch {
            throw .invalidJSON
        }
        do { return try SessionDescription(json: json) } catch { throw .invalidDescription(error) }
    }
}
