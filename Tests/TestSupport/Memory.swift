// SPDX-License-Identifier: Apache-2.0
import Foundation

/// How much of this process is in memory, in bytes; always 0 under a sanitizer, which keeps what was freed and notes of its own
/// for each byte, so that nothing could be said of the code under test.
public func residentBytes() throws -> Int {
    if let sanitizer = Sanitizer.current {
        print("not measured: memory, since \(sanitizer.rawValue) keeps more of it than the code under test")
        return 0
    }
    // proc(5): statm counts pages; the second word is what is resident.
    let words = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
    return (words.count > 1 ? Int(words[1]) ?? 0 : 0) * Int(getpagesize())
}

/// What the test program was instrumented with.
public enum Sanitizer: String, Sendable {
    case thread = "ThreadSanitizer"
    case address = "AddressSanitizer"

    /// The one of this process.
    public static let current: Sanitizer? = {
        if dlsym(nil, "__tsan_init") != nil { return .thread }
        return dlsym(nil, "__asan_init") != nil ? .address : nil
    }()
}
