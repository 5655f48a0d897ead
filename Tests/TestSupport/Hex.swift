// SPDX-License-Identifier: Apache-2.0

/// Bytes from hexadecimal text; white space is skipped, so that dumps can be pasted as they stand.
public func bytes(hex: String) -> [UInt8] {
    let digits = hex.unicodeScalars.compactMap { Character($0).hexDigitValue.map(UInt8.init) }
    return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
