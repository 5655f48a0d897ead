// SPDX-License-Identifier: Apache-2.0

public import Wire

/// A candidate that travels by itself, after its description (RFC 8838), in the members that browsers give it:
/// `{"candidate": "candidate:…", "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "…"}`.
public struct TrickleCandidate: Hashable, Sendable {
    /// `candidate:…` without `a=` before it; empty for the end of candidates.
    public var candidate: String
    /// The `a=mid` of its section.
    public var sdpMid: String?
    /// The place of its section.
    public var sdpMLineIndex: Int?
    /// The user fragment that tells generations apart (RFC 8838 §9).
    public var usernameFragment: String?

    /// A candidate from its parts.
    public init(
        candidate: String, sdpMid: String? = nil, sdpMLineIndex: Int? = nil, usernameFragment: String? = nil
    ) {
        self.candidate = TrickleCandidate.normalized(candidate)
        self.sdpMid = sdpMid
        self.sdpMLineIndex = sdpMLineIndex
        self.usernameFragment = usernameFragment
    }

    /// A candidate from the object that signalling carries; `nil` when it is none. Candidates over 1 KiB are none.
    public init?(json: JSON) {
        guard let candidate = json["candidate"]?.string, candidate.utf8.count <= 1024 else { return nil }
        self.init(
            candidate: candidate, sdpMid: json["sdpMid"]?.string,
            sdpMLineIndex: json["sdpMLineIndex"]?.integer.flatMap { Int(exactly: $0) },
            usernameFragment: json["usernameFragment"]?.string)
    }

    /// The object that signalling carries.
    public var json: JSON {
        var object: JSON.Object = ["candidate": .string(candidate)]
        object["sdpMid"] = sdpMid.map { .string($0) }
        object["sdpMLineIndex"] = sdpMLineIndex.map { .integer(Int64($0)) }
        object["usernameFragment"] = usernameFragment.map { .string($0) }
        return .object(object)
    }

    /// Whether this says that no candidates follow.
    public var isEndOfCandidates: Bool {
        candidate.isEmpty || candidate == "end-of-candidates"
    }

    /// The form without `a=`, white space and line end.
    static func normalized(_ line: String) -> String {
        var text = line[...]
        while let last = text.unicodeScalars.last, last.value <= 0x20 { text.unicodeScalars.removeLast() }
        while let first = text.unicodeScalars.first, first.value <= 0x20 { text.unicodeScalars.removeFirst() }
        if text.hasPrefix("a=") { text = text.dropFirst(2) }
        return String(text)
    }
}
