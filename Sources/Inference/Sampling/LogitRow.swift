// SPDX-License-Identifier: Apache-2.0
internal import Compute
internal import Glibc

/// The logits of one position, as they lie in memory that someone else owns: valid as long as that is.
struct LogitRow {
    /// A token that may be chosen.
    struct Candidate: Sendable {
        var logit: Float
        var token: Int32

        /// Whether this goes before another: by the logit, then by the id.
        func isAbove(_ other: Candidate) -> Bool {
            logit > other.logit || (logit == other.logit && token < other.token)
        }
    }

    private let logits: UnsafeMutableBufferPointer<Float>
    private typealias Vector = SIMD8<Float>

    /// The first `limit` places of a row.
    init(_ row: UnsafeMutableBufferPointer<Float>, limit: Int) {
        logits = UnsafeMutableBufferPointer(rebasing: row.prefix(max(0, limit)))
    }

    /// How many tokens there are.
    var count: Int { logits.count }

    /// Whether a token has a place here.
    func holds(_ token: Int32) -> Bool { token >= 0 && Int(token) < count }

    /// The logit of a token that has a place.
    subscript(token: Int32) -> Float {
        get { logits[Int(token)] }
        nonmutating set { logits[Int(token)] = newValue }
    }

    // MARK: The likeliest

    /// The likeliest token. All are looked at, once.
    func peak() throws(SamplingError) -> Candidate {
        var highest = Vector(repeating: -.infinity)
        var places = SIMD8<Int32>(repeating: -1)
        var isNumber = SIMDMask<SIMD8<Int32>>(repeating: true)
        var offsets = SIMD8<Int32>(0, 1, 2, 3, 4, 5, 6, 7)
        let whole = count & ~7
        for start in stride(from: 0, to: whole, by: 8) {
            let value = vector(start)
            isNumber = isNumber .& (value .== value)
            let isHigher = value .> highest
            highest.replace(with: value, where: isHigher)
            places.replace(with: offsets, where: isHigher)
            offsets &+= 8
        }
        var best = Candidate(logit: -.infinity, token: -1)
        for lane in 0..<8 where places[lane] >= 0 {
            let candidate = Candidate(logit: highest[lane], token: places[lane])
            if candidate.isAbove(best) { best = candidate }
        }
        var isRight = isNumber == SIMDMask(repeating: true)
        for index in whole..<count {
            isRight = isRight && !logits[index].isNaN
            if logits[index] > best.logit { best = Candidate(logit: logits[index], token: Int32(index)) }
        }
        guard isRight, best.logit < .infinity else { throw notANumber() }
        guard best.token >= 0 else {
            throw SamplingError(
                .noCandidate, at: "logits", "all \(count) tokens are forbidden",
                advice: "forbid fewer tokens; if none are, the model is damaged or does not fit this program")
        }
        return best
    }

    private func notANumber() -> SamplingError {
        let place = logits.firstIndex { $0.isNaN || $0 == .infinity } ?? 0
        return SamplingError(
            .notANumber, at: "logits", "the model's output for the token \(place) is \(logits[place]), not a number",
            advice: "the weights are damaged or do not fit this program: check them with dreamer verify")
    }

    // MARK: Those that may be chosen

    /// Tokens whose logit is at least this, in the order of their ids.
    func collect(from least: Float, into candidates: inout [Candidate]) {
        candidates.removeAll(keepingCapacity: true)
        let whole = count & ~7
        for start in stride(from: 0, to: whole, by: 8) where any(vector(start) .>= least) {
            for index in start..<start + 8 { add(index, from: least, to: &candidates) }
        }
        for index in whole..<count { add(index, from: least, to: &candidates) }
    }

    private func add(_ index: Int, from least: Float, to candidates: inout [Candidate]) {
        guard logits[index] >= least, logits[index] > -.infinity else { return }
        candidates.append(Candidate(logit: logits[index], token: Int32(index)))
    }

    /// The likeliest tokens, best first, at least as many as make `Σ e^(logit − highest)` reach `target`: all above a
    /// bound, which is lowered until they do. Few have to be put in order, unless all are nearly equal.
    func collect(reaching target: Double, below highest: Float, into candidates: inout [Candidate]) {
        for depth in [4, 8, 16, Float.infinity] {
            collect(from: highest - depth, into: &candidates)
            var sum = 0.0
            // Each is counted a little too low, so that no difference in rounding makes too few of them.
            for candidate in candidates { sum += (1 - 0x1p-20) * exp(Double(candidate.logit - highest)) }
            if sum >= target { break }
        }
        candidates.sort { $0.isAbove($1) }
    }

    /// The likeliest `number` tokens, best first.
    func collect(highest number: Int, into candidates: inout [Candidate]) {
        candidates.removeAll(keepingCapacity: true)
        // A heap whose first is the worst: most of what comes is not above it, and is passed over eight at a time.
        var index = 0
        while index < count {
            if candidates.count == number, index + 8 <= count, !any(vector(index) .> candidates[0].logit) {
                index += 8
                continue
            }
            let end = min(index + (index & 7 == 0 ? 8 : 8 - index & 7), count)
            while index < end {
                let candidate = Candidate(logit: logits[index], token: Int32(index))
                index += 1
                if candidate.logit == -.infinity { continue }
                if candidates.count < number {
                    candidates.append(candidate)
                    if candidates.count == number {
                        for start in stride(from: number / 2 - 1, through: 0, by: -1) { sink(&candidates, start) }
                    }
                } else if candidate.isAbove(candidates[0]) {
                    candidates[0] = candidate
                    sink(&candidates, 0)
                }
            }
        }
        candidates.sort { $0.isAbove($1) }
    }

    private func sink(_ heap: inout [Candidate], _ start: Int) {
        let moved = heap[start]
        var index = start
        while 2 * index + 1 < heap.count {
            var child = 2 * index + 1
            if child + 1 < heap.count, heap[child].isAbove(heap[child + 1]) { child += 1 }
            guard moved.isAbove(heap[child]) else { break }
            heap[index] = heap[child]
            index = child
        }
        heap[index] = moved
    }

    // MARK: Sums

    /// `Σ e^((logit − highest) · scale)`.
    func sumOfExponentials(highest: Float, scale: Float) -> Double {
        guard let base = logits.baseAddress else { return 0 }
        return VectorMath.sumOfExponentials(UnsafePointer(base), count: count, highest: highest, scale: scale)
    }

    /// The first token up to which that sum is more than `target`.
    func place(of target: Double, highest: Float, scale: Float) -> Int32? {
        guard let base = logits.baseAddress else { return nil }
        let place = VectorMath.place(
            of: target, in: UnsafePointer(base), count: count, highest: highest, scale: scale)
        return place.map { Int32($0) }
    }

    private func vector(_ start: Int) -> Vector {
        UnsafeRawPointer(logits.baseAddress.unsafelyUnwrapped)
            .loadUnaligned(fromByteOffset: start * 4, as: Vector.self)
    }
}
