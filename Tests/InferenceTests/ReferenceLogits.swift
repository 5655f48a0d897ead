// SPDX-License-Identifier: Apache-2.0
import Foundation
import RDRR
import TestSupport
import Testing

/// Logits that the transformers library gave for a model; `Fixtures/inference/ORIGIN.md` tells the format.
struct ReferenceLogits {
    /// What is known of one position's logits.
    struct Position {
        /// log Σ e^logit over the vocabulary.
        let logSum: Float
        /// The largest, falling, and then others picked by chance.
        let logits: [(id: Int, value: Float)]
        /// How many of them are the largest.
        let top: Int

        /// By how much the largest leads.
        var margin: Float { logits[0].value - logits[1].value }
    }

    /// A prompt, with a position for each of its tokens.
    struct Prompt {
        let tokens: [Int32]
        let positions: [Position]
    }

    let vocabulary: Int
    let prompts: [Prompt]

    init(_ bytes: [UInt8]) throws {
        var place = 8
        func word() throws -> UInt32 {
            try #require(place + 4 <= bytes.count)
            defer { place += 4 }
            return bytes[place..<place + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
        try #require(bytes.starts(with: Array("DLOGITS1".utf8)))
        vocabulary = Int(try word())
        let top = Int(try word())
        let others = Int(try word())
        prompts = try (0..<Int(word())).map { _ in
            let tokens = try (0..<Int(word())).map { _ in Int32(bitPattern: try word()) }
            let positions = try tokens.map { _ in
                Position(
                    logSum: Float(bitPattern: try word()),
                    logits: try (0..<top + others).map { _ in (Int(try word()), Float(bitPattern: try word())) },
                    top: top)
            }
            return Prompt(tokens: tokens, positions: positions)
        }
    }
}

/// By how much logits differ from the reference's.
struct LogitComparison: CustomStringConvertible {
    private(set) var positions = 0
    /// Of any logit that the reference lists.
    private(set) var largestDifference: Float = 0
    private(set) var largestSumDifference: Float = 0
    /// Of the reference's distribution from ours, over the listed tokens and all others together: at most what it is over
    /// the whole vocabulary.
    private(set) var largestDivergence = 0.0
    /// Positions where the reference is sure of the first token by more than 0.05 and ours is another.
    private(set) var otherFirst = 0

    mutating func add(_ row: [Float], _ reference: ReferenceLogits.Position) {
        positions += 1
        let highest = Double(row.max() ?? 0)
        let logSum = highest + log(row.reduce(0.0) { $0 + exp(Double($1) - highest) })
        largestSumDifference = max(largestSumDifference, abs(Float(logSum) - reference.logSum))
        var divergence = 0.0
        var (rest, ownRest) = (1.0, 1.0)
        for (index, (id, value)) in reference.logits.enumerated() {
            largestDifference = max(largestDifference, abs(row[id] - value))
            guard index < reference.top else { continue }
            let p = exp(Double(value) - Double(reference.logSum))
            let q = exp(Double(row[id]) - logSum)
            divergence += p * log(p / q)
            rest -= p
            ownRest -= q
        }
        if rest > 1e-9, ownRest > 1e-9 { divergence += rest * log(rest / ownRest) }
        largestDivergence = max(largestDivergence, divergence)
        if reference.margin > 0.05, row[reference.logits[0].id] != row.max() { otherFirst += 1 }
    }

    var description: String {
        "\(positions) positions: logits within \(largestDifference), sums within \(largestSumDifference), divergence "
            + "\(largestDivergence), another first token \(otherFirst) times"
    }
}

/// The real model that is tested with.
enum RealModel {
    static let file = "SmolLM2-135M-Instruct.Q4_1.gguf"

    /// The model as a folder; `nil`, with a printed reason, where there is none.
    static let folder: String? = {
        let places: [String?] = [
            ProcessInfo.processInfo.environment["DREAMER_MODEL"],
            Fixtures.checkout.appending(path: ".build/demo/\(file)").path,
        ]
        guard let path = places.compactMap({ $0 }).first(where: { FileManager.default.fileExists(atPath: $0) }) else {
            print("skipped: no \(file); run scripts/demo once, or set DREAMER_MODEL to where it is")
            return nil
        }
        let target = Fixtures.checkout.appending(path: ".build/tests/smollm2").path
        if (try? ModelFolder(opening: target)) != nil { return target }
        try? FileManager.default.createDirectory(
            atPath: Fixtures.checkout.appending(path: ".build/tests").path, withIntermediateDirectories: true)
        do {
            try ModelPacker.pack(path, to: target)
            return target
        } catch {
            Issue.record("the real model cannot be packed: \(error)")
            return nil
        }
    }()
}
