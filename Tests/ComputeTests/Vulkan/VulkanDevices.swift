// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing
import Wire

@testable import Compute

/// The devices that kernels are tried on: whatever this host has, with both ways of writing kernels, opened once.
enum VulkanDevices {
    /// A device for each kind of kernels; none, with a printed reason, where there is no driver.
    static let all: [VulkanDevice.Kernels: VulkanDevice] = {
        var devices: [VulkanDevice.Kernels: VulkanDevice] = [:]
        // Drivers synchronize threads in ways that ThreadSanitizer does not see.
        if getenv("DREAMER_SANITIZER").map({ String(cString: $0) }) == "thread" {
            print("Vulkan is not tested under ThreadSanitizer")
            return [:]
        }
        for kernels in VulkanDevice.Kernels.allCases {
            do {
                var options = VulkanDevice.Options(validates: true, kernels: kernels)
                // One of them with memory of its own, as cards have it.
                options.hidesMemory = kernels == .subgroups
                let device = try VulkanDevice(options)
                if !device.validates { print("Vulkan: the validation layer is not installed; nothing is validated") }
                devices[kernels] = device
            } catch {
                print("Vulkan is not tested with kernels for \(kernels): \(error)")
            }
        }
        return devices
    }()

    static var isAvailable: Bool { !all.isEmpty }
}

/// A program with random weights that the processor and a device run, to be compared.
struct Comparison {
    var program = Program()
    var weights: [RandomWeights] = []
    var entropy: Entropy

    init(seed: UInt64) {
        entropy = Entropy(seed: seed)
    }

    mutating func weight(
        _ name: String, _ format: BlockFormat, rows: Int = 1, columns: Int, parts: Int = 1
    ) throws -> WeightID {
        if format == .f32 {
            weights.append(RandomWeights(plainRows: rows, columns: columns, seed: UInt64(weights.count)))
        } else {
            weights.append(RandomWeights(format, rows: rows, columns: columns, from: &entropy))
        }
        return try program.weight(name, format: format, rows: rows, columns: columns, parts: parts)
    }

    /// Numbers that are ordinary on average, as an embedding gives them.
    mutating func input(_ length: Int, vocabulary: Int = 16) throws -> Activation {
        let table = try weight("table", .f32, rows: vocabulary, columns: length)
        let x = try program.activation(length)
        try program.append(.embed(table: table, scale: 1, into: x))
        return x
    }

    func bind(_ executable: any Executable) throws {
        for (index, weights) in weights.enumerated() {
            let id = WeightID(index: index)
            let parts = program[id].parts
            let size = weights.bytes.count / parts
            for part in 0..<parts {
                try executable.bind(id, part: part, to: bytes(of: index, from: part * size, count: size))
            }
        }
    }

    /// A copy of some bytes of weights.
    func bytes(of weight: Int, from start: Int, count: Int) -> WeightBytes {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
        weights[weight].bytes.withUnsafeBytes {
            copy.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + count]))
        }
        return WeightBytes(UnsafeRawBufferPointer(copy), owner: Owner(copy))
    }

    final class Owner {
        let bytes: UnsafeMutableRawBufferPointer
        init(_ bytes: UnsafeMutableRawBufferPointer) { self.bytes = bytes }
        deinit { bytes.deallocate() }
    }

    /// Runs the batches on the processor and on a device, and compares rows of activations after each.
    func compare(
        on device: VulkanDevice, options: ExecutionOptions, batches: [Batch], _ activations: [Activation],
        tolerance: Float
    ) throws {
        let expected = try CPUDevice(threads: 1).compile(program, options: options)
        let found = try device.compile(program, options: options)
        try bind(expected)
        try bind(found)
        for (index, batch) in batches.enumerated() {
            try expected.run(batch)
            try found.run(batch)
            for activation in activations {
                for row in 0..<(activation.rows == .tokens ? batch.count : batch.outputs.count) {
                    try expectAlike(
                        found.row(row, of: activation), expected.row(row, of: activation), tolerance: tolerance,
                        "batch \(index), activation \(activation.index), row \(row)")
                }
            }
        }
        #expect(device.complaints.isEmpty, "\(device.complaints)")
    }
}

/// Whether numbers differ by no more than a share of the largest of them.
func expectAlike(_ found: [Float], _ expected: [Float], tolerance: Float, _ note: String) throws {
    let scale = expected.reduce(Float(0)) { max($0, $1.magnitude) }
    for i in found.indices where !((found[i] - expected[i]).magnitude <= tolerance * max(scale, 1e-6)) {
        Issue.record("\(note), number \(i) of \(found.count): \(found[i]), not \(expected[i]) of at most \(scale)")
        throw Unlike()
    }
}

struct Unlike: Error {}

extension Executable {
    func row(_ row: Int, of activation: Activation) throws -> [Float] {
        var values = [Float](repeating: .nan, count: activation.length)
        var span = values.mutableSpan
        try read(activation, row: row, into: &span)
        return values
    }
}

extension Batch {
    /// Tokens of one sequence at consecutive positions; the last one's result is wanted.
    init(_ ids: some Collection<Int>, position: Int = 0, sequence: Int = 0, outputs: Int = 1) {
        self.init()
        for (index, id) in ids.enumerated() {
            append(
                Int32(id), position: position + index, sequence: sequence, wantsOutput: index >= ids.count - outputs)
        }
    }
}
