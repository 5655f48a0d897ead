// SPDX-License-Identifier: Apache-2.0

/// How weights are stored: plain numbers, or blocks of small integers that share a scale.
///
/// Numbers are little-endian, halves are IEEE 754 binary16. The blocks are GGML's: `ggml-common.h` fixes their order of
/// fields (`block_q4_0` and so on), `ggml-quants.c` what they stand for (`dequantize_row_q4_0` and so on).
///
///     Q4_0   d:half  nibbles:16            w = d·(q − 8); the low nibble of byte j is weight j, the high one j + 16
///     Q4_1   d:half  m:half  nibbles:16    w = d·q + m
///     Q5_0   d:half  fifth bits:4  nibbles:16            w = d·(q − 16); bit j of the four bytes belongs to weight j
///     Q8_0   d:half  bytes:32              w = d·q, signed
///     Q4_K   d:half  dmin:half  scales:12  nibbles:128   w = d·s·q − dmin·m, with s and m of six bits for each 32
///     Q5_K   d:half  dmin:half  scales:12  fifth bits:32  nibbles:128
///     Q6_K   nibbles:128  two bits:64  scales:16 signed  d:half    w = d·s·(q − 32), with s for each 16
public enum BlockFormat: UInt8, CaseIterable, Sendable {
    case f32 = 0
    case f16 = 1
    case bf16 = 2
    case q4_0 = 3
    case q4_1 = 4
    case q5_0 = 5
    case q8_0 = 6
    case q4_K = 7
    case q5_K = 8
    case q6_K = 9

    /// The format of a name that GGML or a manifest of RDRR gives it; `nil` for one that is not computed with.
    public init?(named name: String) {
        switch name {
        case "F32": self = .f32
        case "F16": self = .f16
        case "BF16": self = .bf16
        case "Q4_0": self = .q4_0
        case "Q4_1": self = .q4_1
        case "Q5_0": self = .q5_0
        case "Q8_0": self = .q8_0
        // RDRR calls the block of Q4_K by the name of the mixture that llama.cpp makes with it.
        case "Q4_K", "Q4_K_M": self = .q4_K
        case "Q5_K": self = .q5_K
        case "Q6_K": self = .q6_K
        default: return nil
        }
    }

    /// GGML's name.
    public var name: String {
        switch self {
        case .f32: "F32"
        case .f16: "F16"
        case .bf16: "BF16"
        case .q4_0: "Q4_0"
        case .q4_1: "Q4_1"
        case .q5_0: "Q5_0"
        case .q8_0: "Q8_0"
        case .q4_K: "Q4_K"
        case .q5_K: "Q5_K"
        case .q6_K: "Q6_K"
        }
    }

    /// Weights in a block; 1 for plain numbers.
    public var blockLength: Int {
        switch self {
        case .f32, .f16, .bf16: 1
        case .q4_0, .q4_1, .q5_0, .q8_0: 32
        case .q4_K, .q5_K, .q6_K: 256
        }
    }

    /// Bytes of a block.
    public var blockSize: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q4_0: 2 + 16
        case .q4_1: 2 + 2 + 16
        case .q5_0: 2 + 4 + 16
        case .q8_0: 2 + 32
        case .q4_K: 2 + 2 + 12 + 128
        case .q5_K: 2 + 2 + 12 + 32 + 128
        case .q6_K: 128 + 64 + 16 + 2
        }
    }

    /// Whether weights are integers with a scale.
    public var isQuantized: Bool { blockLength > 1 }

    /// The bytes of so many weights; `nil` when they do not fill whole blocks, or the number is too large.
    public func byteCount(of weights: Int) -> Int? {
        guard weights >= 0, weights % blockLength == 0 else { return nil }
        let (bytes, overflow) = (weights / blockLength).multipliedReportingOverflow(by: blockSize)
        return overflow ? nil : bytes
    }
}
