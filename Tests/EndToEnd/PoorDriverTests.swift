// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

/// `dreamer generate --device vulkan` on drivers that lack something.
@Suite("Poor drivers of Vulkan", .serialized, .enabled(if: PoorDriver.shared != nil, "printed above"))
struct PoorDriverTests {
    private let scene: Scene

    init() throws {
        scene = try Scene()
        try scene.copyModel(to: "model")
    }

    /// Has 20 tokens generated.
    private func generate(_ taken: [String: String]) throws -> LineProcess {
        let driver = try #require(PoorDriver.shared)
        return try LineProcess(
            Programs.dreamer,
            [
                "generate", scene.path("model"), "--prompt", "the", "--max-tokens", "20", "--seed", "4", "--device",
                "vulkan", "--json",
            ], environment: driver.environment(taken))
    }

    @Test(
        "a device that lacks what is needed is refused with its name and what it is",
        arguments: [
            (["POOR_API": "1.1"], "it has Vulkan 1.1, 1.2 is needed"), (["POOR_ADDRESSES": "0"], "bufferDeviceAddress"),
            (["POOR_SUBGROUPS": "0"], "its subgroups lack operations"),
        ])
    func lacking(taken: [String: String], words: String) async throws {
        let process = try generate(taken)
        try await process.expectExit(1)
        #expect(process.errors.contains(words) && process.errors.contains("0: "), "\(process.errors)")
    }

    @Test("a device that is out of memory is told with for what, how much there is and what to do")
    func memory() async throws {
        let process = try generate(["POOR_MEMORY": "1000000"])
        try await process.expectExit(1)
        for word in ["out of device memory", "MiB for", "the device has", "(use a"] {
            #expect(process.errors.contains(word), "\(process.errors)")
        }
    }

    @Test("a device that is lost, at first or in the middle of a text, is told", arguments: [0, 8])
    func loss(submissions: Int) async throws {
        let process = try generate(["POOR_SUBMITS": "\(submissions)"])
        try await process.expectExit(1)
        #expect(process.errors.contains("device lost") && process.errors.contains("load the model again"))
    }

    @Test("of types of memory that look the same, one that buffers may lie in is taken")
    func types() async throws {
        var texts: [JSON?] = []
        for taken in [[:], ["POOR_TYPES": "1"]] {
            let process = try generate(taken)
            try await process.expectExit()
            texts.append(try await process.json()["tokens"])
        }
        #expect(texts[0] == texts[1] && texts[0] != nil)
    }
}
