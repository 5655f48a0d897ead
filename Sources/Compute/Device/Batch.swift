// SPDX-License-Identifier: Apache-2.0

/// Tokens that go through a program together, of one sequence or of several.
///
/// Tokens of a sequence stand one after the other, at consecutive positions; all positions before the first are kept
/// already.
public struct Batch: Sendable {
    /// What the tokens are.
    public private(set) var ids: [Int32] = []
    /// Where each stands in its sequence, from 0.
    public private(set) var positions: [Int32] = []
    /// Which sequence each belongs to, from 0.
    public private(set) var sequences: [Int32] = []
    /// The tokens whose result is wanted, rising: which of them in this batch.
    public private(set) var outputs: [Int32] = []

    /// A batch of nothing.
    public init() {}

    /// How many tokens there are.
    public var count: Int { ids.count }

    /// Adds a token at the end.
    public mutating func append(_ id: Int32, position: Int, sequence: Int = 0, wantsOutput: Bool = false) {
        if wantsOutput { outputs.append(Int32(ids.count)) }
        ids.append(id)
        positions.append(Int32(clamping: position))
        sequences.append(Int32(clamping: sequence))
    }

    /// Takes all tokens out; memory is kept.
    public mutating func removeAll() {
        ids.removeAll(keepingCapacity: true)
        positions.removeAll(keepingCapacity: true)
        sequences.removeAll(keepingCapacity: true)
        outputs.removeAll(keepingCapacity: true)
    }

    /// Checks what devices rely on: bounds, and the order of each sequence's tokens.
    func check(_ options: ExecutionOptions, program: Program) throws(ComputeError) {
        let vocabulary = program.vocabulary
        guard count > 0, count <= options.tokens, outputs.count <= options.outputs else {
            throw ComputeError(
                .shape,
                "a batch of \(count) tokens and \(outputs.count) outputs, there is room for "
                    + "\(options.tokens) and \(options.outputs)")
        }
        for index in 0..<count {
            guard ids[index] >= 0, ids[index] < vocabulary else {
                throw ComputeError(.shape, "token \(ids[index]) of a vocabulary of \(vocabulary)")
            }
            guard sequences[index] >= 0, sequences[index] < options.sequences, positions[index] >= 0,
                positions[index] < options.positions
            else {
                throw ComputeError(
                    .shape,
                    "position \(positions[index]) of sequence \(sequences[index]): there are "
                        + "\(options.sequences) of \(options.positions)")
            }
            if index > 0, sequences[index] == sequences[index - 1], positions[index] != positions[index - 1] + 1 {
                throw ComputeError(.shape, "position \(positions[index]) follows \(positions[index - 1])")
            }
        }
    }

    /// The tokens of each sequence, in order.
    var runs: [Range<Int>] {
        var runs: [Range<Int>] = []
        for index in 0..<count {
            if index > 0, sequences[index] == sequences[index - 1] {
                runs[runs.count - 1] = runs[runs.count - 1].lowerBound..<(index + 1)
            } else {
                runs.append(index..<(index + 1))
            }
        }
        return runs
    }
}
