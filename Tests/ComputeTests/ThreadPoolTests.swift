// SPDX-License-Identifier: Apache-2.0
import Synchronization
import Testing

@testable import Compute

@Suite("Threads")
struct ThreadPoolTests {
    @Test("each share of each job is done once", arguments: [1, 2, 3, 8])
    func shares(_ threads: Int) {
        let pool = ThreadPool(threads: threads)
        #expect(pool.count == threads)
        var done = [Int](repeating: 0, count: pool.count)
        for _ in 0..<300 {
            done.withUnsafeMutableBufferPointer { done in
                let base = done.baseAddress
                pool.run { share, shares in
                    #expect(shares == threads)
                    base?[share] += 1
                }
            }
        }
        #expect(done == [Int](repeating: 300, count: threads))
    }

    @Test("threads that have fallen asleep wake for a job")
    func sleep() {
        let pool = ThreadPool(threads: 3)
        let done = Atomic<Int>(0)
        let clock = ContinuousClock()
        for _ in 0..<5 {
            // Longer than threads look for work.
            let end = clock.now + .milliseconds(3)
            while clock.now < end {}
            pool.run { _, _ in done.wrappingAdd(1, ordering: .relaxed) }
        }
        #expect(done.load(ordering: .relaxed) == 15)
    }

    @Test("pools come and go")
    func lifetimes() {
        for threads in 0..<60 { #expect(ThreadPool(threads: threads % 4).count == max(1, threads % 4)) }
    }

    @Test("shares cover everything once", arguments: [1, 4, 16])
    func borders(_ multiple: Int) {
        for count in 0..<70 {
            for parts in 1...7 {
                let ranges = (0..<parts).map { share(of: count, $0, parts, multiple: multiple) }
                #expect(ranges.flatMap { Array($0) } == Array(0..<count))
                #expect(ranges.allSatisfy { $0.isEmpty || $0.lowerBound % multiple == 0 })
            }
        }
    }

    @Test("a measurement gives figures")
    func measurement() throws {
        var benchmark = KernelBenchmark()
        benchmark.rows = 64
        benchmark.rowLength = 256
        benchmark.bytes = 200_000
        benchmark.duration = .milliseconds(1)
        let backend = CPUBackend(threads: 2)
        for format in BlockFormat.allCases {
            let result = try benchmark.measure(format, .bytes, backend: backend, columns: 1)
            #expect(result.gigabytesPerSecond > 0 && result.gigaflops > 0)
        }
        let shape = try AttentionShape(heads: 2, keyValueHeads: 1, headLength: 32)
        let result = try benchmark.measureAttention(.f16, backend: backend, shape: shape, first: 3, count: 2)
        #expect(result.gigabytesPerSecond > 0 && result.gigaflops > 0)
        benchmark.rowLength = 100
        #expect(throws: ComputeError.self) { try benchmark.measure(.q4_1, .bytes, backend: backend, columns: 1) }
    }
}
