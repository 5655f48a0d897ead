// SPDX-License-Identifier: Apache-2.0
import Compute
import Foundation

/// Lets so many batches through as a test says.
final class Gate: @unchecked Sendable {
    // Unchecked: the condition guards everything.

    private let condition = NSCondition()
    private var permits = 0
    private var isOpen = false
    private var isBroken = false
    private var passed = 0

    /// How many batches came through.
    var runs: Int { locked { passed } }

    /// Lets so many more through.
    func allow(_ count: Int) { locked { permits += count } }

    /// Lets all through.
    func open() { locked { isOpen = true } }

    /// Has the device fail.
    func fail() {
        locked {
            isBroken = true
            isOpen = true
        }
    }

    fileprivate func pass() throws(ComputeError) {
        condition.lock()
        while !isOpen, permits == 0 { condition.wait() }
        permits = max(0, permits - 1)
        passed += 1
        let isBroken = isBroken
        condition.unlock()
        if isBroken { throw ComputeError(.deviceLost, "it was unplugged") }
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
        condition.lock()
        defer { condition.unlock() }
        let value = body()
        condition.broadcast()
        return value
    }
}

/// The processor behind a gate: a test decides how far texts come.
final class GatedDevice: ComputeDevice {
    private let device = CPUDevice(threads: 1)
    private let gate: Gate

    init(_ gate: Gate) { self.gate = gate }

    var name: String { device.name }

    func compile(_ program: Program, options: ExecutionOptions) throws(ComputeError) -> any Executable {
        GatedExecutable(try device.compile(program, options: options), gate)
    }
}

private final class GatedExecutable: Executable {
    private let inner: any Executable
    private let gate: Gate

    init(_ inner: any Executable, _ gate: Gate) {
        self.inner = inner
        self.gate = gate
    }

    var program: Program { inner.program }
    var options: ExecutionOptions { inner.options }
    var memory: MemoryUse { inner.memory }
    var timings: [OperationTiming] { inner.timings }

    func bind(_ weight: WeightID, part: Int, to bytes: WeightBytes) throws(ComputeError) {
        try inner.bind(weight, part: part, to: bytes)
    }

    func provide(missing: MissingWeights?) { inner.provide(missing: missing) }

    func run(_ batch: Batch, segments: Range<Int>) throws(ComputeError) {
        try gate.pass()
        try inner.run(batch, segments: segments)
    }

    func read(_ activation: Activation, row: Int, into values: inout MutableSpan<Float>) throws(ComputeError) {
        try inner.read(activation, row: row, into: &values)
    }

    func readCache(_ cache: CacheID, sequence: Int, positions: Range<Int>) throws(ComputeError) -> [UInt8] {
        try inner.readCache(cache, sequence: sequence, positions: positions)
    }

    func writeCache(
        _ cache: CacheID, sequence: Int, positions: Range<Int>, _ bytes: Span<UInt8>
    ) throws(ComputeError) {
        try inner.writeCache(cache, sequence: sequence, positions: positions, bytes)
    }

    func resetTimings() { inner.resetTimings() }
}
