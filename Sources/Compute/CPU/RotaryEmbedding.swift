// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Rotations by which queries and keys carry their position (RoFormer, arXiv:2104.09864): pair i at position p turns by
/// p · frequency i.
public struct RotaryEmbedding: Hashable, Sendable {
    /// Which two numbers of a head are a pair.
    public enum Convention: String, CaseIterable, Sendable {
        /// Neighbours, 2i and 2i + 1: as in files of GGUF of architecture llama.
        case interleaved
        /// i and i + half of the rotated numbers: as in `transformers`, and in GGUF of most other architectures.
        case halfSplit
    }

    /// Which two numbers of a head are a pair.
    public let convention: Convention
    /// By how much each pair turns from one position to the next, in radians.
    public let frequencies: [Double]

    /// Rotations of the usual frequencies: base^(−2i/dimensions), divided by `factor` where positions are stretched.
    public init(convention: Convention, dimensions: Int, base: Double, factor: Double = 1) {
        self.init(
            convention: convention,
            frequencies: (0..<max(0, dimensions / 2)).map {
                pow(base, -2 * Double($0) / Double(dimensions)) / factor
            })
    }

    /// Rotations of any frequencies; a head has at least twice as many numbers.
    public init(convention: Convention, frequencies: [Double]) {
        self.convention = convention
        self.frequencies = frequencies
    }
}

/// The rotations of a batch's positions, which all layers share.
struct RotationTable {
    private let embedding: RotaryEmbedding
    private var cosines: [Float] = []
    private var sines: [Float] = []

    init(_ embedding: RotaryEmbedding) {
        self.embedding = embedding
    }

    /// Computes the rotations of tokens at these positions.
    mutating func prepare(positions: some Sequence<Int32>) {
        cosines.removeAll(keepingCapacity: true)
        sines.removeAll(keepingCapacity: true)
        for position in positions {
            for frequency in embedding.frequencies {
                let angle = Double(position) * frequency
                cosines.append(Float(cos(angle)))
                sines.append(Float(sin(angle)))
            }
        }
    }

    /// Turns the heads of one of these tokens, in place; others stay as they are.
    func apply(_ heads: UnsafeMutablePointer<Float>, count: Int, headLength: Int, token: Int) {
        let pairs = embedding.frequencies.count
        let start = token * pairs
        guard token >= 0, start + pairs <= cosines.count, pairs * 2 <= headLength else { return }
        let isInterleaved = embedding.convention == .interleaved
        cosines.withUnsafeBufferPointer { cosines in
            sines.withUnsafeBufferPointer { sines in
                for head in 0..<count {
                    let values = heads + head * headLength
                    for i in 0..<pairs {
                        let (a, b) = isInterleaved ? (2 * i, 2 * i + 1) : (i, i + pairs)
                        let c = cosines[start + i]
                        let s = sines[start + i]
                        let (x, y) = (values[a], values[b])
                        values[a] = x * c - y * s
                        values[b] = x * s + y * c
                    }
                }
            }
        }
    }
}
