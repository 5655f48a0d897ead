// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing
import Wire

@testable import Compute

@Suite("Devices of Vulkan", .enabled(if: VulkanDevices.isAvailable), .serialized)
struct VulkanDeviceTests {
    private var device: VulkanDevice {
        get throws { try #require(VulkanDevices.all.values.first) }
    }

    @Test("a device that is not there is refused with those that are")
    func selection() throws {
        do {
            _ = try VulkanDevice(.init(selection: "no such device"))
            Issue.record("a device was opened")
        } catch {
            #expect(error.code == .unavailable && error.message.contains("no such device"))
            #expect(error.message.contains("0: "))
        }
        #expect(try !device.reason.isEmpty && device.name.hasPrefix("vulkan, "))
    }

    @Test("what does not fit is said with sizes, and more memory than there is with an error")
    func faults() throws {
        var comparison = Comparison(seed: 1)
        let x = try comparison.input(64)
        let executable = try device.compile(comparison.program, options: ExecutionOptions(tokens: 2, positions: 4))
        let error = #expect(throws: ComputeError.self) { try executable.run(Batch([1])) }
        #expect(error?.code == .missing && error?.message == "table")
        try comparison.bind(executable)
        #expect(throws: ComputeError.self) { try executable.run(Batch([1, 2, 3])) }
        #expect(throws: ComputeError.self) { try executable.run(Batch([99])) }
        #expect(throws: ComputeError.self) { try executable.row(2, of: x) }
        let empty = WeightBytes(UnsafeRawBufferPointer(start: nil, count: 0), owner: nil)
        #expect(throws: ComputeError.self) {
            try executable.bind(WeightID(index: 0), part: 0, to: empty)
        }

        var large = Program()
        let cache = try large.cache(keyValueHeads: 64, headLength: 1024)
        _ = cache
        let refused = #expect(throws: ComputeError.self) {
            try device.compile(large, options: ExecutionOptions(tokens: 1, sequences: 1 << 16, positions: 1 << 20))
        }
        #expect(refused?.code == .outOfMemory)
        #expect(refused?.message.contains("MiB") == true)
    }

    @Test("compiled kernels are kept, and a damaged file is as good as none")
    func pipelineCache() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("dreamer-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for round in 0..<3 {
            let device = try VulkanDevice(.init(cacheFolder: folder, validates: true))
            var comparison = Comparison(seed: 2)
            let x = try comparison.input(64)
            try comparison.compare(
                on: device, options: ExecutionOptions(tokens: 1, positions: 4), batches: [Batch([1])], [x], tolerance: 0
            )
            let files = try FileManager.default.contentsOfDirectory(atPath: folder)
            #expect(files.count == 1)
            if round == 1, let file = files.first {
                try Data("not a cache".utf8).write(to: URL(fileURLWithPath: "\(folder)/\(file)"))
            }
        }
    }

    @Test("times of operations are kept when they are wanted")
    func timings() throws {
        var comparison = Comparison(seed: 3)
        let x = try comparison.input(64)
        let y = try comparison.program.activation(64)
        let weight = try comparison.weight("w", .q8_0, rows: 64, columns: 64)
        try comparison.program.append(.multiply([.init(weight, into: y)], by: x))
        let executable = try device.compile(
            comparison.program, options: ExecutionOptions(tokens: 1, positions: 4, profiles: true))
        try comparison.bind(executable)
        try executable.run(Batch([1]))
        try executable.run(Batch([2]))
        #expect(Set(executable.timings.map(\.name)) == ["embed F32", "multiply Q8_0 64×64"])
        #expect(executable.timings.allSatisfy { $0.count == 2 })
        executable.resetTimings()
        #expect(executable.timings.isEmpty)
    }

    @Test("segments run one after the other, as their weights come")
    func segments() throws {
        var comparison = Comparison(seed: 4)
        comparison.program.beginSegment("first")
        let x = try comparison.input(64)
        comparison.program.beginSegment("second")
        let y = try comparison.program.activation(48)
        let weight = try comparison.weight("w", .q4_0, rows: 48, columns: 64)
        try comparison.program.append(.multiply([.init(weight, into: y)], by: x))
        let options = ExecutionOptions(tokens: 4, positions: 4, precision: .single)
        let expected = try CPUDevice(threads: 1).compile(comparison.program, options: options)
        let found = try device.compile(comparison.program, options: options)
        for executable in [expected, found] {
            try comparison.bind(executable)
            try executable.run(Batch([1, 2, 3]), segments: 0..<1)
            try executable.run(Batch([1, 2, 3]), segments: 1..<2)
        }
        for row in 0..<3 { try expectAlike(found.row(row, of: y), expected.row(row, of: y), tolerance: 1e-5, "\(row)") }
    }
}
