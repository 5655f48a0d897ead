// SPDX-License-Identifier: Apache-2.0
internal import Compute
internal import RDRR

/// Experts out of a source of their own: each is asked for when the first token asks for it, and waited for by the thread that
/// computes.
final class ExpertFeed: Sendable {
    private struct Place: Hashable {
        let tensor: String
        let start: Int
    }

    private struct State {
        /// What came with an expert and has not been asked for yet: all its matrices come together.
        var arrived: [Place: WeightBytes] = [:]
        var answer: Result<[ExpertWeights], any Error>?
        var failure: (any Error)?
    }

    private let source: any ExpertSource
    private let state = Monitor(State())

    init(_ source: any ExpertSource) { self.source = source }

    /// One of the matrices of an expert; of one caller at a time.
    func bytes(of wanted: ModelGraph.Source, expert: Int, layer: Int) throws -> WeightBytes {
        let place = Place(tensor: wanted.tensor.name, start: wanted.range.lowerBound)
        if let bytes = state.withLock({ $0.arrived.removeValue(forKey: place) }) { return bytes }
        Task { [source, state] in
            let answer: Result<[ExpertWeights], any Error>
            do { answer = .success(try await source.expert(expert, layer: layer)) } catch { answer = .failure(error) }
            state.withLock { $0.answer = answer }
        }
        let answer = try state.wait { state in
            if let failure = state.failure { throw failure }
            defer { state.answer = nil }
            return state.answer
        }
        for weights in try answer.get() {
            let (slice, bytes) = (weights.slice, weights.bytes)
            guard bytes.count == slice.range.count else {
                throw RDRRError(
                    .sizeMismatch, at: "expert \(expert) of layer \(layer)",
                    "\(bytes.count) bytes came of \(slice.tensor.name), the manifest says \(slice.range.count)",
                    advice: "get the expert from somewhere else")
            }
            let memory = try bytes.withUnsafeBytes { try HostMemory(copying: $0, for: slice.tensor.name) }
            let kept = WeightBytes(UnsafeRawBufferPointer(start: memory.base, count: bytes.count), owner: memory)
            state.withLock { $0.arrived[Place(tensor: slice.tensor.name, start: slice.range.lowerBound)] = kept }
        }
        guard let bytes = state.withLock({ $0.arrived.removeValue(forKey: place) }),
            bytes.bytes.count == wanted.range.count
        else {
            throw RDRRError(
                .missing, at: "expert \(expert) of layer \(layer)", "\(wanted.tensor.name) did not come with it",
                advice: "get the expert from somewhere else")
        }
        return bytes
    }

    /// Ends the wait for what has not come, now and later.
    func cancel() { state.withLock { $0.failure = CancellationError() } }
}
