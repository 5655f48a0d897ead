// SPDX-License-Identifier: Apache-2.0

/// Names one association in this process, for as long as it exists. Never reused within any realistic time.
public struct SCTPHandle: Hashable, Sendable {
    /// The number that stands in for an address inside usrsctp: a slot in the low 16 bits, a generation above.
    public let rawValue: UInt

    init(rawValue: UInt) {
        self.rawValue = rawValue
    }

    init(slot: Int, generation: UInt) {
        rawValue = generation << 16 | UInt(slot)
    }

    var slot: Int { Int(rawValue & 0xFFFF) }
    var generation: UInt { rawValue >> 16 }
}
