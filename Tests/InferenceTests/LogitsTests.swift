// SPDX-License-Identifier: Apache-2.0
import Compute
import Inference
import RDRR
import TestSupport
import Testing

@Suite("Logits of the real model", .enabled(if: RealModel.folder != nil))
struct LogitsTests {
    /// Runs every prompt and compares every position.
    private func compare(_ device: any ComputeDevice, _ options: ModelOptions, prompts: Range<Int>) throws
        -> LogitComparison
    {
        let reference = try ReferenceLogits(try Fixtures.bytes("inference/smollm2-135m-q4_1.logits"))
        let folder = try ModelFolder(opening: try #require(RealModel.folder))
        var options = options
        options.outputs = options.batch
        let model = try LanguageModel(folder, on: device, options: options)
        var comparison = LogitComparison()
        var row = [Float](repeating: 0, count: reference.vocabulary)
        for prompt in reference.prompts[prompts] {
            var start = 0
            while start < prompt.tokens.count {
                var batch = Batch()
                let end = min(start + options.batch, prompt.tokens.count)
                for index in start..<end { batch.append(prompt.tokens[index], position: index, wantsOutput: true) }
                try model.executable.run(batch)
                for index in start..<end {
                    var span = row.mutableSpan
                    try model.executable.read(model.logits, row: index - start, into: &span)
                    comparison.add(row, prompt.positions[index])
                }
                start = end
            }
        }
        return comparison
    }

    @Test("single precision is within 0.02 of transformers' logits")
    func single() throws {
        let options = ModelOptions(context: 256, batch: 32, cacheFormat: .f32, precision: .single)
        let comparison = try compare(CPUDevice(threads: 2), options, prompts: 0..<7)
        print("cpu, float32:", comparison)
        #expect(comparison.positions >= 200)
        #expect(comparison.largestDifference < 0.02 && comparison.largestSumDifference < 0.02)
        #expect(comparison.otherFirst == 0)
    }

    @Test("integers and halves stay within a divergence of 0.01, with the same first token where it is sure")
    func fast() throws {
        let options = ModelOptions(context: 256, batch: 32)
        let comparison = try compare(CPUDevice(threads: 2), options, prompts: 0..<7)
        print("cpu, integers and F16:", comparison)
        #expect(comparison.largestDivergence < 0.01)
        #expect(comparison.otherFirst == 0)
    }

    @Test("Vulkan's single precision is within 0.02 of transformers' logits")
    func vulkanSingle() throws {
        guard let device = VulkanModelTests.device() else { return }
        let options = ModelOptions(context: 256, batch: 32, cacheFormat: .f32, precision: .single)
        let comparison = try compare(device, options, prompts: 0..<7)
        print("\(device.name), float32:", comparison)
        #expect(comparison.positions >= 200)
        #expect(comparison.largestDifference < 0.02 && comparison.largestSumDifference < 0.02)
        #expect(comparison.otherFirst == 0)
    }

    @Test("Vulkan with a cache of halves stays within a divergence of 0.01, with the same first token where it is sure")
    func vulkanFast() throws {
        guard let device = VulkanModelTests.device() else { return }
        let comparison = try compare(device, ModelOptions(context: 256, batch: 32), prompts: 0..<7)
        print("\(device.name), F16:", comparison)
        #expect(comparison.largestDivergence < 0.01)
        #expect(comparison.otherFirst == 0)
    }
}
