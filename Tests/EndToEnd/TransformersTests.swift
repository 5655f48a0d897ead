// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// Whole rows of logits of the real model, as the transformers library computes them in float32 now and here. Fixtures hold a
/// part of the same numbers for machines without the library.
@Suite("Against the transformers library")
struct TransformersTests {
    private static let python = Programs.python(
        with: "torch, transformers, gguf, accelerate",
        advice: "Tests/InferenceTests/Reference/README.md says how to get it")

    @Test(
        "every logit of a prompt is where it should be", .enabled(if: python != nil, "the library is absent"),
        .enabled(if: WholeModel.realFile != nil, "the real model is not at hand: run scripts/demo once"))
    func rows() async throws {
        let (python, file) = (try #require(Self.python), try #require(WholeModel.realFile))
        let scene = try Scene()
        let script = Programs.reference("logits.py")
        let prompts = ["prose", "code", "scripts"]
        let write = try LineProcess(
            python, [script, "full", file, scene.path("reference")] + prompts.flatMap { ["--prompt", $0] })
        try await write.expectExit(within: .seconds(600))
        let pack = try scene.start("pack", file, "-o", scene.path("model"))
        try await pack.expectExit()
        for prompt in prompts {
            let reference = scene.path("reference/\(prompt)")
            // The whole text as it was, with its last character.
            let text = String(decoding: try scene.read("reference/\(prompt).txt"), as: UTF8.self)
            for (arithmetic, limit) in [("float32", ["--difference", "0.02"]), ("fast", ["--divergence", "0.01"])] {
                let generate = try scene.start(
                    "generate", scene.path("model"), "--prompt", text, "--arithmetic", arithmetic, "--device", "cpu",
                    "--logits",
                    scene.path("ours.f32"))
                try await generate.expectExit()
                let compare = try LineProcess(
                    python, [script, "compare", "\(reference).f32", scene.path("ours.f32")] + limit)
                try await compare.expectExit()
                try await compare.waitForOutputEnd()
                print("\(prompt), \(arithmetic): \(compare.output.split(separator: "\n").joined(separator: "; "))")
            }
        }
    }
}
