// SPDX-License-Identifier: Apache-2.0

/// The secret that whoever asks must know. It does not show itself in what is printed.
public struct APIKey: Sendable, CustomStringConvertible, CustomReflectable {
    private let bytes: [UInt8]

    /// The fewest characters that a key may have.
    public static let shortest = 8
    /// The most characters that a key may have.
    public static let longest = 4096

    /// A key of visible ASCII characters, white space around it not counted; `nil` for what cannot be one: too short,
    /// too long, or with characters that a header cannot carry.
    public init?(_ text: some Sequence<UInt8>) {
        var bytes = Array(text)
        let space: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0D).contains($0) }
        while let last = bytes.last, space(last) { bytes.removeLast() }
        bytes = Array(bytes.drop(while: space))
        guard (Self.shortest...Self.longest).contains(bytes.count), bytes.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        self.bytes = bytes
    }

    /// Whether a header `Authorization: Bearer KEY` brings this key. How long it takes depends on what was sent alone,
    /// not on how much of it is right.
    func isBrought(by header: String?) -> Bool {
        guard let header else { return false }
        let parts = header.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return false }
        return matches(parts[1].utf8.drop { $0 == 0x20 })
    }

    private func matches(_ other: some Sequence<UInt8>) -> Bool {
        var difference = 0
        var count = 0
        for byte in other {
            difference |= Int(byte ^ bytes[count % bytes.count])
            count += 1
        }
        return difference | (count ^ bytes.count) == 0
    }

    /// Nothing of the key.
    public var description: String { "a key" }
    /// Nothing of the key.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
