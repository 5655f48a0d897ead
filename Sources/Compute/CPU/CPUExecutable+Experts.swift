// SPDX-License-Identifier: Apache-2.0

/// Room for the tokens of one expert, taken when the first mixture runs.
final class MixingRoom {
    let columns: UnsafeMutablePointer<Float>
    let gates: UnsafeMutablePointer<Float>
    let ups: UnsafeMutablePointer<Float>
    let results: UnsafeMutablePointer<Float>
    private let memory: HostMemory

    init(tokens: Int, width: Int, hidden: Int) throws(ComputeError) {
        // Each is a whole number of lines of cache.
        let (wide, deep) = ((tokens * width + 15) & ~15, (tokens * hidden + 15) & ~15)
        let count = 2 * (wide + deep)
        memory = try HostMemory(byteCount: count * 4, for: "the tokens of an expert")
        columns = memory.base.bindMemory(to: Float.self, capacity: count)
        results = columns + wide
        gates = results + wide
        ups = gates + deep
    }
}

extension CPUExecutable {
    /// Experts one after the other, each with all tokens that ask it: its weights are read once.
    func mix(
        _ mixture: ExpertMixture, router: Activation, by x: Activation, into output: Activation, count: Int
    ) throws(ComputeError) {
        let width = x.length
        let hidden = program[mixture.downs].columns
        let choices = choices(mixture, router, count)
        let room: MixingRoom
        if let mixing {
            room = mixing
        } else {
            room = try MixingRoom(tokens: options.tokens, width: width, hidden: hidden)
        }
        mixing = room
        self[output].update(repeating: 0, count: count * width)
        for expert in 0..<router.length {
            let asking = choices.filter { $0.expert == expert }
            if asking.isEmpty { continue }
            for (index, choice) in asking.enumerated() {
                (room.columns + index * width).update(from: self[x] + choice.token * width, count: width)
            }
            try multiply(
                [
                    MatrixProduct(try matrix(mixture.gates, part: expert), into: room.gates, stride: hidden),
                    MatrixProduct(try matrix(mixture.ups, part: expert), into: room.ups, stride: hidden),
                ], by: room.columns, length: width, count: asking.count)
            backend.gate(mixture.gate, room.gates, room.ups, count: asking.count * hidden, into: room.gates)
            try multiply(
                [MatrixProduct(try matrix(mixture.downs, part: expert), into: room.results, stride: width)],
                by: room.gates, length: hidden, count: asking.count)
            for (index, choice) in asking.enumerated() {
                VectorMath.multiply(room.results + index * width, by: choice.weight, count: width)
                VectorMath.add(room.results + index * width, to: self[output] + choice.token * width, count: width)
            }
        }
    }

    private struct Choice {
        let token: Int
        let expert: Int
        let weight: Float
    }

    /// The experts that each token asks, the first of equal ones first, and how much each counts.
    private func choices(_ mixture: ExpertMixture, _ router: Activation, _ count: Int) -> [Choice] {
        var choices: [Choice] = []
        choices.reserveCapacity(count * mixture.used)
        for token in 0..<count {
            let numbers = UnsafeMutableBufferPointer(start: self[router] + token * router.length, count: router.length)
            // A NaN is larger than all: it is chosen, and seen in the result.
            let order = numbers.indices.sorted {
                let (a, b) = (numbers[$0].isNaN ? .infinity : numbers[$0], numbers[$1].isNaN ? .infinity : numbers[$1])
                return a > b || a == b && $0 < $1
            }
            let chosen = order.prefix(mixture.used)
            let all = mixture.normalizes ? Array(chosen) : Array(order)
            let highest = numbers[order[0]]
            let sum = all.reduce(Double(0)) { $0 + Double(exponential(numbers[$1] - highest)) }
            for expert in chosen {
                let weight = Double(exponential(numbers[expert] - highest)) / sum
                choices.append(Choice(token: token, expert: expert, weight: Float(weight)))
            }
        }
        return choices
    }

    private func exponential(_ x: Float) -> Float { VectorMath.exp(SIMD8(repeating: x))[0] }
}
