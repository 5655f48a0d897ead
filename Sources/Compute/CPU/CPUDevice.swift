// SPDX-License-Identifier: Apache-2.0

/// The processor, as a device: weights are used where they lie.
public final class CPUDevice: ComputeDevice {
    /// How many threads an executable works with.
    public let threads: Int
    /// With which instructions.
    public let instructions: InstructionSet

    /// The processor with so many threads; instructions that it lacks are replaced by the best it has.
    public init(threads: Int, instructions: InstructionSet = .best) {
        self.threads = max(1, threads)
        self.instructions = instructions.isSupported ? instructions : .best
    }

    /// As in `cpu, 2 threads, avx512`.
    public var name: String {
        "cpu, \(threads) thread\(threads == 1 ? "" : "s"), \(instructions.rawValue)"
    }

    /// Takes memory for activations and caches, of which the system gives what is written to.
    public func compile(_ program: Program, options: ExecutionOptions) throws(ComputeError) -> any Executable {
        try options.check(program)
        return try CPUExecutable(
            program, options: options, backend: CPUBackend(threads: threads, instructions: instructions))
    }
}
