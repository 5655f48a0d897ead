// SPDX-License-Identifier: Apache-2.0
import Compute
import Foundation
import Inference
import TestSupport
import Testing

/// The small models on whatever device of Vulkan there is, with both ways of writing kernels.
@Suite("Networks of all families on Vulkan")
struct VulkanModelTests {
    private static let devices = VulkanDevice.Kernels.allCases.compactMap { device($0) }

    /// Whatever device there is; `nil`, with a printed reason, where there is none.
    static func device(_ kernels: VulkanDevice.Kernels? = nil) -> VulkanDevice? {
        // Drivers synchronize threads in ways that ThreadSanitizer does not see.
        guard ProcessInfo.processInfo.environment["DREAMER_SANITIZER"] != "thread" else {
            print("Vulkan is not tested under ThreadSanitizer")
            return nil
        }
        do {
            return try VulkanDevice(.init(kernels: kernels))
        } catch {
            print("Vulkan is not tested: \(error)")
            return nil
        }
    }

    @Test("logits are those of transformers", arguments: SmallModelTests.models)
    func single(_ model: SmallModelTests.Model) throws {
        // What a file is packed from makes no difference to a device.
        guard model.source != "model.gguf" else { return }
        let temporary = TemporaryFolder()
        let folder = try SmallModelTests.folder(model, in: temporary)
        for device in Self.devices {
            let options = ModelOptions(sequences: 2, batch: 5, cacheFormat: .f32, precision: .single, outputs: 5)
            let language = try LanguageModel(folder, on: device, options: options)
            var row = [Float](repeating: 0, count: language.architecture.vocabulary)
            for (sequence, prompt) in try SmallModelTests.expected(model).enumerated() {
                var largest: Float = 0
                for start in stride(from: 0, to: prompt.tokens.count, by: 5) {
                    var batch = Batch()
                    let range = start..<min(start + 5, prompt.tokens.count)
                    for index in range {
                        batch.append(prompt.tokens[index], position: index, sequence: sequence, wantsOutput: true)
                    }
                    try language.executable.run(batch)
                    for index in range {
                        var span = row.mutableSpan
                        try language.executable.read(language.logits, row: index - start, into: &span)
                        for (a, b) in zip(row, prompt.rows[index]) { largest = max(largest, abs(a - b)) }
                    }
                }
                #expect(largest < 1e-3, "\(model) on \(device.name) differs by \(largest)")
            }
        }
    }
}
