// SPDX-License-Identifier: Apache-2.0
import Glibc
import Inference
import Testing
import Wire

/// The steps as they are defined, in doubles and with everything sorted: what a token's probability is.
private func distribution(
    _ logits: [Float], _ options: SamplingOptions, prompt: [Int32] = [], generated: [Int32] = []
) -> [Int32: Double] {
    var values = logits.map { Double($0) }
    for (token, bias) in options.logitBias { values[Int(token)] += Double(bias) }
    let all = prompt + generated
    let window = options.repetitionWindow ?? all.count
    for token in Set(all.suffix(window)) {
        let factor = Double(options.repetitionPenalty)
        values[Int(token)] = values[Int(token)] > 0 ? values[Int(token)] / factor : values[Int(token)] * factor
    }
    for token in generated { values[Int(token)] -= Double(options.frequencyPenalty) }
    for token in Set(generated) { values[Int(token)] -= Double(options.presencePenalty) }
    var order = values.indices.filter { values[$0] > -.infinity }
    order.sort { values[$0] > values[$1] || (values[$0] == values[$1] && $0 < $1) }
    if options.temperature == 0 { return [Int32(order[0]): 1] }
    if options.topK > 0 { order = Array(order.prefix(options.topK)) }
    let highest = values[order[0]]
    let sum = order.reduce(0) { $0 + exp(values[$1] - highest) }
    if options.topP < 1 {
        var reached = 0.0
        var kept = 0
        while kept < order.count, reached < Double(options.topP) {
            reached += exp(values[order[kept]] - highest) / sum
            kept += 1
        }
        order = Array(order.prefix(kept))
    }
    if options.minP > 0 { order.removeAll { exp(values[$0] - highest) < Double(options.minP) } }
    let weights = order.map { exp((values[$0] - highest) / Double(options.temperature)) }
    let total = weights.reduce(0, +)
    return Dictionary(uniqueKeysWithValues: zip(order, weights).map { (Int32($0), $1 / total) })
}

/// A row as a model gives it: most tokens unlikely, a few likely, some equal.
private func row(_ count: Int, _ random: inout Entropy, spread: Float = 4) -> [Float] {
    var row = (0..<count).map { _ in
        let uniform = Float.random(in: 0x1p-24..<1, using: &random)
        return -spread * log(-log(uniform)) * 0.5
    }
    for _ in 0..<count / 8 {
        row[Int.random(in: 0..<count, using: &random)] = row[Int.random(in: 0..<count, using: &random)]
    }
    return row
}

private func next(_ sampler: inout Sampler, _ logits: [Float]) throws -> Int32 {
    var logits = logits
    var result: Result<Int32, SamplingError> = .success(-1)
    logits.withUnsafeMutableBufferPointer { row in
        result = Result { () throws(SamplingError) in try sampler.next(row) }
    }
    return try result.get()
}

/// The options that are tried, each step for itself and all together.
private let cases: [(name: String, options: SamplingOptions)] = {
    func make(_ name: String, _ change: (inout SamplingOptions) -> Void) -> (String, SamplingOptions) {
        var options = SamplingOptions()
        change(&options)
        return (name, options)
    }
    return [
        make("plain") { _ in }, make("temperature 0.3") { $0.temperature = 0.3 },
        make("temperature 3") { $0.temperature = 3 }, make("top-k 5") { $0.topK = 5 },
        make("top-k beyond") { $0.topK = 1000 }, make("top-p 0.5") { $0.topP = 0.5 },
        make("top-p 0.99") { $0.topP = 0.99 }, make("top-p tiny") { $0.topP = 1e-6 },
        make("min-p 0.1") { $0.minP = 0.1 }, make("min-p 1") { $0.minP = 1 },
        make("top-k and top-p") { ($0.topK, $0.topP) = (10, 0.6) },
        make("top-p and min-p, hot") { ($0.topP, $0.minP, $0.temperature) = (0.9, 0.05, 1.7) },
        make("all") { ($0.topK, $0.topP, $0.minP, $0.temperature) = (12, 0.95, 0.02, 0.8) },
        make("bias") { $0.logitBias = [3: 5, 7: -.infinity, 11: -2] },
        make("penalties") { ($0.repetitionPenalty, $0.frequencyPenalty, $0.presencePenalty) = (1.3, 0.4, 0.7) },
        make("rewards") { ($0.repetitionPenalty, $0.frequencyPenalty, $0.presencePenalty) = (0.8, -0.2, -0.3) },
        make("short window") { ($0.repetitionPenalty, $0.repetitionWindow) = (2, 2) },
        make("no window") { ($0.repetitionPenalty, $0.repetitionWindow) = (2, 0) },
        make("whole window") { ($0.repetitionPenalty, $0.repetitionWindow) = (2, nil) },
    ]
}()

@Suite("Sampler")
struct SamplerTests {
    private static let prompt: [Int32] = [1, 2, 3, 3, 17]
    private static let generated: [Int32] = [5, 6, 5, 2, 30]

    private func sampler(_ options: SamplingOptions, seed: UInt64) throws -> Sampler {
        var options = options
        options.seed = seed
        var sampler = try Sampler(options, vocabulary: 40, prompt: Self.prompt)
        for token in Self.generated { sampler.accept(token) }
        return sampler
    }

    /// The most that χ² may be, by Wilson and Hilferty, 4.5 standard deviations out.
    private func bound(_ freedom: Int) -> Double {
        let part = 2 / (9 * Double(freedom))
        return Double(freedom) * pow(1 - part + 4.5 * part.squareRoot(), 3)
    }

    @Test("tokens come as often as they should, and no others", arguments: cases.indices)
    func frequencies(index: Int) throws {
        var random = Entropy(seed: 5)
        let logits = row(40, &random)
        let options = cases[index].options
        let expected = distribution(logits, options, prompt: Self.prompt, generated: Self.generated)
        let draws = 1500
        var counts: [Int32: Int] = [:]
        for seed in 0..<UInt64(draws) {
            var sampler = try sampler(options, seed: seed)
            counts[try next(&sampler, logits), default: 0] += 1
        }
        // Rare tokens together, so that each kind is expected often enough for the test.
        var chi = 0.0
        var kinds = 0
        var (rareExpected, rareCount) = (0.0, 0.0)
        for (token, probability) in expected {
            let (mean, count) = (probability * Double(draws), Double(counts[token] ?? 0))
            if mean < 8 {
                rareExpected += mean
                rareCount += count
            } else {
                chi += (count - mean) * (count - mean) / mean
                kinds += 1
            }
        }
        if rareExpected > 0 {
            chi += (rareCount - rareExpected) * (rareCount - rareExpected) / max(rareExpected, 1)
            kinds += 1
        }
        #expect(counts.keys.allSatisfy { expected[$0] != nil }, "\(cases[index].name)")
        #expect(chi <= (kinds > 1 ? bound(kinds - 1) : 1e-9), "\(cases[index].name): \(chi) for \(kinds) kinds")
    }

    @Test("what is left of large rows is what the definition leaves", arguments: 1...6 as ClosedRange<UInt64>)
    func support(seed: UInt64) throws {
        var random = Entropy(seed: seed)
        let count = Int.random(in: 200...603, using: &random)
        var logits = row(count, &random, spread: Float(seed))
        // Flat rows too, and forbidden tokens.
        if seed == 6 { logits = logits.map { _ in Float(Int.random(in: 0...1, using: &random)) } }
        for _ in 0..<count / 4 { logits[Int.random(in: 0..<count, using: &random)] = -.infinity }
        for (name, options) in cases where options.repetitionPenalty == 1 && options.logitBias.isEmpty {
            var options = options
            options.seed = seed
            let expected = distribution(logits, options)
            var sampler = try Sampler(options, vocabulary: count)
            var seen: Set<Int32> = []
            for _ in 0..<40 { seen.insert(try next(&sampler, logits)) }
            #expect(seen.allSatisfy { expected[$0] != nil }, "\(name), seed \(seed)")
            if expected.count < 8 {
                #expect(expected.allSatisfy { $0.value < 0.3 || seen.contains($0.key) }, "\(name), seed \(seed)")
            }
        }
    }

    @Test("the likeliest token is found wherever it is, the first of equal ones")
    func greedy() throws {
        var random = Entropy(seed: 2)
        for count in [1, 2, 7, 8, 9, 16, 31, 100] {
            for _ in 0..<10 {
                var logits = (0..<count).map { _ in Float.random(in: -9..<9, using: &random).rounded() }
                let first = Int.random(in: 0..<count, using: &random)
                logits[first] = 9
                var sampler = try Sampler(.greedy, vocabulary: count)
                #expect(try next(&sampler, logits) == Int32(logits.firstIndex(of: 9) ?? -1))
            }
        }
        var sampler = try Sampler(.greedy, vocabulary: 3)
        #expect(try next(&sampler, [-.infinity, -1e30, -.infinity]) == 1)
        #expect(try next(&sampler, [-0.0, 0, -0.0]) == 0)
        // Beyond the vocabulary a row may say what it wants.
        #expect(try next(&sampler, [1, 2, 3, 100, .nan]) == 2)
    }

    @Test("a low temperature or a narrow choice is the likeliest token")
    func cold() throws {
        var options = SamplingOptions()
        for temperature in [0.01, 1e-30, Float.leastNonzeroMagnitude] {
            options.temperature = temperature
            var sampler = try Sampler(options, vocabulary: 40)
            #expect(try next(&sampler, (0..<40).map { $0 == 13 ? 2 : 1 }) == 13)
        }
        options.temperature = 5
        options.topK = 1
        var sampler = try Sampler(options, vocabulary: 40)
        #expect(try next(&sampler, [Float](repeating: 1, count: 40)) == 0)
    }

    @Test("the same seed gives the same tokens, another one others")
    func seeds() throws {
        var random = Entropy(seed: 9)
        let rows = (0..<20).map { _ in row(500, &random) }
        func text(_ seed: UInt64?) throws -> (tokens: [Int32], seed: UInt64) {
            var options = SamplingOptions()
            (options.seed, options.topP, options.repetitionPenalty) = (seed, 0.95, 1.1)
            var sampler = try Sampler(options, vocabulary: 500)
            return (try rows.map { try next(&sampler, $0) }, sampler.seed)
        }
        let first = try text(1).tokens
        #expect(try text(1).tokens == first)
        #expect(try text(2).tokens != first)
        let drawn = try text(nil)
        #expect(try text(drawn.seed).tokens == drawn.tokens)
    }

    @Test("a row that is no row of numbers is an error, whatever the options", arguments: cases.indices)
    func wrongRows(index: Int) throws {
        func refuses(_ code: SamplingError.Code, _ logits: [Float]) throws {
            var sampler = try sampler(cases[index].options, seed: 1)
            let error = #expect(throws: SamplingError.self) { try next(&sampler, logits) }
            #expect(error?.code == code)
        }
        for place in [0, 1, 7, 8, 31, 39] {
            var logits = [Float](repeating: 1, count: 40)
            logits[place] = .nan
            try refuses(.notANumber, logits)
            // What the options forbid is forbidden.
            logits[place] = .infinity
            if cases[index].options.logitBias[Int32(place)] != -.infinity { try refuses(.notANumber, logits) }
        }
        try refuses(.noCandidate, [Float](repeating: -.infinity, count: 40))
    }

    @Test("an empty row is an error")
    func emptyRow() throws {
        var sampler = try Sampler(.greedy, vocabulary: 40)
        let error = #expect(throws: SamplingError.self) { try next(&sampler, []) }
        #expect(error?.code == .noCandidate)
    }

    @Test("options that cannot be are refused by name")
    func options() {
        func refuses(_ name: String, _ change: (inout SamplingOptions) -> Void) {
            var options = SamplingOptions()
            change(&options)
            let error = #expect(throws: SamplingError.self) { try Sampler(options, vocabulary: 10) }
            #expect(error?.code == .invalidOption && error?.place == name)
        }
        for value in [-0.1, .nan, .infinity] as [Float] { refuses("temperature") { $0.temperature = value } }
        refuses("top-k") { $0.topK = -1 }
        for value in [0, -1, 1.01, .nan] as [Float] { refuses("top-p") { $0.topP = value } }
        for value in [-0.01, 1.01, .nan] as [Float] { refuses("min-p") { $0.minP = value } }
        for value in [0, -1, .nan, .infinity] as [Float] {
            refuses("repetition penalty") { $0.repetitionPenalty = value }
        }
        refuses("repetition window") { $0.repetitionWindow = -1 }
        refuses("frequency penalty") { $0.frequencyPenalty = .nan }
        refuses("presence penalty") { $0.presencePenalty = .infinity }
        for token in [-1, 10] as [Int32] { refuses("logit bias") { $0.logitBias = [token: 1] } }
        for bias in [.nan, .infinity] as [Float] { refuses("logit bias") { $0.logitBias = [1: bias] } }
    }

    @Test("a window forgets what left it")
    func window() throws {
        var options = SamplingOptions.greedy
        (options.repetitionPenalty, options.repetitionWindow) = (10, 3)
        var sampler = try Sampler(options, vocabulary: 5)
        var chosen: [Int32] = []
        for _ in 0..<9 { chosen.append(try next(&sampler, [5, 4, 3, 2, 1])) }
        #expect(chosen == [0, 1, 2, 3, 0, 1, 2, 3, 0])
    }

    @Test("log-probabilities are those of the whole row, best first, whatever the sampler does")
    func logProbabilities() throws {
        var random = Entropy(seed: 4)
        for count in [1, 5, 8, 100, 1001] {
            var logits = row(count, &random)
            let sum = logits.reduce(0) { $0 + exp(Double($1)) }
            let order = logits.indices.sorted { logits[$0] > logits[$1] || (logits[$0] == logits[$1] && $0 < $1) }
            for top in [0, 1, 5, 20] {
                let found = try logits.withUnsafeMutableBufferPointer {
                    try TokenProbabilities($0, vocabulary: count, top: top)
                }
                #expect(found.top.map { $0.token } == order.prefix(top).map { Int32($0) })
                for entry in found.top {
                    let expected = Double(logits[Int(entry.token)]) - log(sum)
                    #expect(abs(Double(entry.logProbability) - expected) < 1e-5)
                    #expect(found.logProbability(ofLogit: logits[Int(entry.token)]) == entry.logProbability)
                }
            }
        }
        var damaged: [Float] = [1, .nan]
        #expect(throws: SamplingError.self) {
            try damaged.withUnsafeMutableBufferPointer { try TokenProbabilities($0, vocabulary: 2, top: 1) }
        }
    }
}
