// SPDX-License-Identifier: Apache-2.0
public import Hashing

/// The link to a model: enough to find it and to check every byte of it. Whoever has the link may join; whoever has
/// only the info hash may not.
///
///     magnet:?xt=urn:blake3:<digest>&dn=<modelId>&xl=<bytes>&tr=<tracker>…&ws=<HTTP base>…
public struct MagnetLink: Hashable, Sendable, CustomStringConvertible {
    /// BLAKE3-256 of the manifest's bytes.
    public var manifestDigest: BLAKE3.Digest
    /// The model's name for people, as the sender of the link says.
    public var name: String?
    /// The bytes of all shards and files, as the sender of the link says.
    public var size: Int?
    /// The trackers' addresses.
    public var trackers: [String]
    /// The bases of HTTP addresses where the folder's files are.
    public var webSeeds: [String]

    /// A link.
    public init(
        manifestDigest: BLAKE3.Digest, name: String? = nil, size: Int? = nil, trackers: [String] = [],
        webSeeds: [String] = []
    ) {
        self.manifestDigest = manifestDigest
        self.name = name
        self.size = size
        self.trackers = trackers
        self.webSeeds = webSeeds
    }

    /// The link to a model whose manifest is at hand.
    public init(to manifest: RDRRManifest, trackers: [String] = [], webSeeds: [String] = []) {
        self.init(
            manifestDigest: manifest.digest, name: manifest.modelId, size: manifest.totalEntrySize, trackers: trackers,
            webSeeds: webSeeds)
    }

    /// The name under which peers meet: SHA-1 of the digest's 64 hex digits.
    public var infoHash: [UInt8] { SHA1.hash(Array(manifestDigest.hex.utf8)) }

    /// Reads a link. Unknown parameters are passed over, order does not matter.
    public init(parsing text: String) throws(RDRRError) {
        let text = text.trimmed
        let prefix = "magnet:?"
        guard text.utf8.count <= 65_536 else { throw Self.fault("", .tooLarge, "a link has at most 64 KiB") }
        guard text.prefix(prefix.count).lowercased() == prefix else {
            throw Self.fault("", .invalid, "a link to a model starts with \(prefix)")
        }
        var digest: BLAKE3.Digest?
        name = nil
        size = nil
        trackers = []
        webSeeds = []
        for parameter in text.dropFirst(prefix.count).split(separator: "&") {
            let parts = parameter.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { continue }
            // tr.1=, tr.2= is the numbered form of a parameter that comes several times.
            let key = parts[0].split(separator: ".").first.map { $0.lowercased() } ?? ""
            guard let value = Self.decode(parts[1]) else {
                throw Self.fault(key, .invalid, "the text after % is no hex, or is no UTF-8")
            }
            switch key {
            case "xt":
                let scheme = "urn:blake3:"
                guard value.prefix(scheme.count).lowercased() == scheme else { continue }
                guard let found = BLAKE3.Digest(hex: value.dropFirst(scheme.count).lowercased()) else {
                    throw Self.fault(key, .invalid, "urn:blake3: must be followed by 64 hex digits")
                }
                guard digest == nil || digest == found else {
                    throw Self.fault(key, .invalid, "the link names two models")
                }
                digest = found
            case "dn": name = value
            case "xl":
                guard let count = Int64(value), count >= 0, count <= ManifestField.largestInteger else {
                    throw Self.fault(key, .invalid, "\"\(value.prefix(40))\" is no number of bytes up to 2^53")
                }
                size = Int(count)
            case "tr": if !value.isEmpty && !trackers.contains(value) { trackers.append(value) }
            case "ws": if !value.isEmpty && !webSeeds.contains(value) { webSeeds.append(value) }
            default: break
            }
        }
        guard let digest else {
            throw Self.fault("xt", .missing, "the link has no xt=urn:blake3:…, so it names no model")
        }
        manifestDigest = digest
    }

    /// The link as text.
    public var description: String {
        var text = "magnet:?xt=urn:blake3:\(manifestDigest.hex)"
        if let name { text += "&dn=" + Self.encode(name) }
        if let size { text += "&xl=\(size)" }
        for tracker in trackers { text += "&tr=" + Self.encode(tracker) }
        for base in webSeeds { text += "&ws=" + Self.encode(base) }
        return text
    }

    private static func fault(_ key: String, _ code: RDRRError.Code, _ message: String) -> RDRRError {
        RDRRError(
            code, at: key.isEmpty ? "link" : "link parameter \(key)", message,
            advice: "copy the whole link again, in quotation marks on a command line")
    }

    /// RFC 3986 §2.1: everything but unreserved characters is percent-encoded.
    private static func encode(_ text: String) -> String {
        var result: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: result.append(byte)
            default:
                result.append(UInt8(ascii: "%"))
                result.append(contentsOf: Hex.encode([byte]).uppercased().utf8)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Percent-decoding; a plus sign is a space, as in the query strings that other programs write.
    private static func decode(_ text: Substring) -> String? {
        var result: [UInt8] = []
        var bytes = Array(text.utf8)[...]
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard bytes.count >= 2,
                    let decoded = Hex.decode(String(decoding: bytes.prefix(2), as: UTF8.self))
                else { return nil }
                bytes = bytes.dropFirst(2)
                result.append(contentsOf: decoded)
            case UInt8(ascii: "+"): result.append(UInt8(ascii: " "))
            default: result.append(byte)
            }
        }
        return String(validating: result, as: UTF8.self)
    }
}

extension String {
    /// Without the white space that copying a line brings along.
    fileprivate var trimmed: Substring {
        let kept = drop { $0.isWhitespace }
        guard let last = kept.lastIndex(where: { !$0.isWhitespace }) else { return kept.prefix(0) }
        return kept[...last]
    }
}
