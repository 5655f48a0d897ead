// SPDX-License-Identifier: Apache-2.0

extension KernelBenchmark {
    /// The usual measurements with a number of threads, one after the other: the products and the attention of
    /// SmolLM2-135M, then the other formats, then single precision.
    ///
    /// - Parameter report: takes each figure as it comes.
    public static func run(
        threads: Int, instructions: InstructionSet = .best, duration: Duration = .milliseconds(200),
        report: (Result) -> Void
    ) throws(ComputeError) {
        let backend = CPUBackend(threads: threads, instructions: instructions)
        var benchmark = KernelBenchmark()
        benchmark.duration = duration
        for (rows, length) in [(1536, 576), (576, 1536), (576, 576), (192, 576)] {
            benchmark.rows = rows
            benchmark.rowLength = length
            for columns in [1, 128] {
                report(try benchmark.measure(.q4_1, .bytes, backend: backend, columns: columns))
            }
        }
        benchmark.rows = 49_152
        benchmark.rowLength = 576
        report(try benchmark.measure(.q8_0, .bytes, backend: backend, columns: 1))
        let shape = try AttentionShape(heads: 9, keyValueHeads: 3, headLength: 64)
        for format in [BlockFormat.f32, .f16, .q8_0] {
            for (first, count) in [(511, 1), (4095, 1), (0, 512)] {
                report(
                    try benchmark.measureAttention(format, backend: backend, shape: shape, first: first, count: count))
            }
        }
        benchmark.rows = 1536
        benchmark.rowLength = 1536
        for format in BlockFormat.allCases where format.isQuantized {
            for columns in [1, 4, 128] {
                report(try benchmark.measure(format, .bytes, backend: backend, columns: columns))
            }
        }
        for format in BlockFormat.allCases {
            for columns in [1, 128] {
                report(try benchmark.measure(format, .single, backend: backend, columns: columns))
            }
        }
    }
}
