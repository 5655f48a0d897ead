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
            let largest = try SmallModelTests.largestDifference(of: language, from: model, batch: 5)
            #expect(largest < 1e-3, "\(model) on \(device.name) differs by \(largest)")
        }
    }
}
