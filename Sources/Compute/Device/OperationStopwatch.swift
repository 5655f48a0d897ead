// SPDX-License-Identifier: Apache-2.0

/// Sums times by kinds of operations.
struct OperationStopwatch {
    private var sums: [String: OperationTiming] = [:]

    /// The sums, the longest first.
    var timings: [OperationTiming] { sums.values.sorted { ($0.duration, $1.name) > ($1.duration, $0.name) } }

    func now() -> ContinuousClock.Instant { ContinuousClock.now }

    mutating func note(_ name: String, since start: ContinuousClock.Instant) {
        note(name, duration: ContinuousClock.now - start)
    }

    mutating func note(_ name: String, duration: Duration) {
        sums[name, default: OperationTiming(name: name, count: 0, duration: .zero)].count += 1
        sums[name]?.duration += duration
    }
}

extension Program {
    /// What times of an operation are summed under.
    func name(of operation: Operation) -> String {
        switch operation {
        case .embed(let table, _, _): "embed \(self[table].format.name)"
        case .normalize: "normalize"
        case .multiply(let products, let x):
            "multiply \(products.map { self[$0.weight].format.name }.first ?? "") "
                + "\(products.reduce(0) { $0 + self[$1.weight].rows })×\(x.length)"
        case .rotate: "rotate"
        case .store: "store"
        case .attend: "attend"
        case .gate(let gate, _, _, _): "gate \(gate.rawValue)"
        case .add: "add"
        case .gather: "gather"
        case .mix(let mixture, _, _, _): "mix \(self[mixture.gates].format.name)"
        }
    }
}
