// SPDX-License-Identifier: Apache-2.0
internal import Compute

/// What the engine's thread does: batch after batch, as long as somebody wants text.
final class GenerationLoop: @unchecked Sendable {
    // Unchecked: handed to its thread, which alone uses it.

    /// A sequence of the model's, and who uses it.
    private struct Sequence {
        /// The tokens whose keys and values are kept.
        var tokens: [Int32] = []
        var job: GenerationJob?
        /// When it was used last, in turns.
        var lastUse = 0
    }

    private let model: LanguageModel
    private let queue: GenerationQueue
    private var sequences: [Sequence]
    private var batch = Batch()
    private var row: [Float]
    private var turn = 0
    private var step = 0

    init(_ model: LanguageModel, _ queue: GenerationQueue) {
        self.model = model
        self.queue = queue
        sequences = Array(repeating: Sequence(), count: model.executable.options.sequences)
        row = Array(repeating: 0, count: model.architecture.vocabulary)
    }

    func run() {
        while true {
            let idle = sequences.count { $0.job == nil }
            guard let jobs = queue.take(idle, waits: idle == sequences.count) else { break }
            for job in jobs { place(job) }
            do {
                try runBatch()
            } catch {
                // What the device holds is not known any more.
                queue.close(because: error)
                for index in sequences.indices {
                    guard let job = sequences[index].job else { continue }
                    queue.release(job)
                    job.fail(error)
                }
                sequences = Array(repeating: Sequence(), count: sequences.count)
                break
            }
        }
        for index in sequences.indices { finish(index, .cancelled) }
    }

    /// Gives a request the sequence that holds most of its prompt's beginning, of equal ones the one that was not used
    /// for longest.
    private func place(_ job: GenerationJob) {
        turn += 1
        var best: (index: Int, shared: Int)?
        for index in sequences.indices where sequences[index].job == nil {
            // The last token of a prompt goes through the network in any case: its numbers are wanted.
            let shared = zip(sequences[index].tokens, job.request.prompt.dropLast()).prefix { $0 == $1 }.count
            let isBetter =
                best.map {
                    shared > $0.shared || shared == $0.shared && sequences[index].lastUse < sequences[$0.index].lastUse
                } ?? true
            if isBetter { best = (index, shared) }
        }
        guard let best else { return }
        sequences[best.index].tokens.removeSubrange(best.shared...)
        sequences[best.index].job = job
        sequences[best.index].lastUse = turn
        job.begin(reused: best.shared)
    }

    /// Lets one batch go through the network: a token of each text that is being generated, then as much of prompts as
    /// fits.
    private func runBatch() throws {
        for index in sequences.indices where sequences[index].job?.isCancelled == true {
            finish(index, .cancelled)
        }
        batch.removeAll()
        var asking: [Int] = []
        for index in sequences.indices {
            guard let job = sequences[index].job, let token = job.pending else { continue }
            append(token, to: index, wantsOutput: true)
            asking.append(index)
        }
        // Prompts share what room is left, so that a long one does not hold up the others; who has the first choice changes.
        step &+= 1
        var waiting = sequences.indices.filter { sequences[$0].job.map { $0.pending == nil } ?? false }
        if !waiting.isEmpty {
            let first = step % waiting.count
            waiting = Array(waiting[first...] + waiting[..<first])
        }
        for (place, index) in waiting.enumerated() {
            guard let job = sequences[index].job else { continue }
            let room = model.executable.options.tokens - batch.count
            let share = (room + waiting.count - place - 1) / (waiting.count - place)
            let prompt = job.request.prompt
            let end = min(prompt.count, job.promptDone + share)
            for place in job.promptDone..<end {
                append(prompt[place], to: index, wantsOutput: place == prompt.count - 1)
            }
            job.promptDone = end
            if end == prompt.count { asking.append(index) }
        }
        guard batch.count > 0 else { return }
        try model.run(batch)
        for index in sequences.indices {
            if let job = sequences[index].job, job.pending == nil { job.tellPrompt() }
        }
        for (output, index) in asking.enumerated() { try choose(index, output: output) }
    }

    private func append(_ token: Int32, to index: Int, wantsOutput: Bool) {
        batch.append(token, position: sequences[index].tokens.count, sequence: index, wantsOutput: wantsOutput)
        sequences[index].tokens.append(token)
    }

    private func choose(_ index: Int, output: Int) throws {
        try row.withUnsafeMutableBufferPointer {
            var span = $0.mutableSpan
            try model.executable.read(model.logits, row: output, into: &span)
        }
        guard let job = sequences[index].job else { return }
        do {
            let hasRoom = sequences[index].tokens.count < model.context
            let reason = try row.withUnsafeMutableBufferPointer { try job.choose(from: $0, hasRoom: hasRoom) }
            if let reason { finish(index, reason) }
        } catch {
            // The numbers of this text are of no use; others' may be.
            sequences[index].job = nil
            sequences[index].tokens = []
            queue.release(job)
            job.fail(error)
        }
    }

    private func finish(_ index: Int, _ reason: GenerationEnd.Reason) {
        guard let job = sequences[index].job else { return }
        sequences[index].job = nil
        queue.release(job)
        job.end(reason)
    }
}
