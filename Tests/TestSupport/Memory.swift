// SPDX-License-Identifier: Apache-2.0
import Foundation

/// How much of this process is in memory, in bytes.
public func residentBytes() throws -> Int {
    // proc(5): statm counts pages; the second word is what is resident.
    let words = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
    return (words.count > 1 ? Int(words[1]) ?? 0 : 0) * Int(getpagesize())
}
