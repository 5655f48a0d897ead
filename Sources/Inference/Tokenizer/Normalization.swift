// SPDX-License-Identifier: Apache-2.0
// The standard library normalizes for its comparisons of strings; its interface to that is not public yet.
@_spi(_Unicode) internal import Swift

/// Unicode normalization of text (UAX #15).
enum Normalization {
    /// Text in Normalization Form C, as UTF-8; `nil` where ASCII says that it is already. The bytes are valid UTF-8.
    static func composed(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
        guard !bytes.allSatisfy({ $0 < 0x80 }) else { return nil }
        var composed: [UInt8] = []
        composed.reserveCapacity(bytes.count)
        for scalar in String(decoding: bytes, as: UTF8.self)._nfc {
            composed.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
        }
        return composed
    }
}
