// SPDX-License-Identifier: Apache-2.0
import Inference
import RDRR
import TestSupport
import Testing
import Wire

@Suite("Conversations")
struct ChatMessageTests {
    private func read(_ text: String) throws -> [ChatMessage] {
        try ChatMessage.conversation(openAI: JSON(parsing: Array(text.utf8)))
    }

    @Test("messages of OpenAI's interface are read")
    func messages() throws {
        let messages = try read(
            #"""
            [{"role": "developer", "content": "Be brief."}, {"role": "user", "name": "Ada", "content": [
                {"type": "text", "text": "One"}, {"type": "text", "text": "two"}]},
             {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function":
                {"name": "f", "arguments": "{\"x\": [1]}"}}]},
             {"role": "tool", "tool_call_id": "1", "content": "4"}, {"role": "assistant", "content": ""}]
            """#)
        #expect(messages.map { $0.role } == ["system", "user", "assistant", "tool", "assistant"])
        #expect(messages.map { $0.content } == ["Be brief.", "One\ntwo", "", "4", ""])
        #expect(messages[1].fields == ["name": "Ada"])
        #expect(messages[2].fields["tool_calls"]?.array?.first?["function"]?["arguments"] == ["x": [1]])
        #expect(messages[3].fields == ["tool_call_id": "1"])
        // A model's slip stays what it was.
        let slip = try read(
            #"[{"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]"#)
        #expect(slip[0].fields["tool_calls"]?.array?.first?["function"]?["arguments"] == "{")
    }

    @Test(
        "what is no conversation, or more than text, is refused with its place",
        arguments: [
            ("{}", "messages"), ("[]", "messages"), ("null", "messages"), ("[1]", "messages[0]"),
            (#"[{"content": "x"}]"#, "messages[0].role"), (#"[{"role": 1, "content": "x"}]"#, "messages[0].role"),
            (#"[{"role": "wizard", "content": "x"}]"#, "messages[0].role"),
            (#"[{"role": "user"}]"#, "messages[0].content"),
            (#"[{"role": "user", "content": 5}]"#, "messages[0].content"),
            (#"[{"role": "assistant", "content": null}]"#, "messages[0].content"),
            (
                #"[{"role": "user", "content": "x"}, {"role": "user", "content": [{"text": "x"}]}]"#,
                "messages[1].content[0]"
            ),
            (#"[{"role": "user", "content": [{"type": "text"}]}]"#, "messages[0].content[0].text"),
            (
                #"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]"#,
                "messages[0].content[0].type"
            ), (#"[{"role": "user", "name": 4, "content": "x"}]"#, "messages[0].name"),
            (#"[{"role": "assistant", "tool_calls": 4}]"#, "messages[0].tool_calls"),
            (#"[{"role": "assistant", "tool_calls": [{}]}]"#, "messages[0].tool_calls[0].function"),
        ])
    func refused(text: String, place: String) throws {
        let error = #expect(throws: ChatMessageError.self) { try read(text) }
        #expect(error?.place == place)
    }

    @Test("a model without a template is talked to in ChatML if its vocabulary is made for that, and else not")
    func fallback() throws {
        let scratch = TemporaryFolder()
        try SyntheticModel(size: 400_000, seed: 3).write(to: "\(scratch.path)/model.gguf")
        let packed = try ModelPacker.pack("\(scratch.path)/model.gguf", to: "\(scratch.path)/packed")
        let tokenizer = try Tokenizer(packed.folder)
        var json = try #require(packed.folder.manifest.json.object)
        var inference = try #require(json["inference"]?.object)
        inference["chatTemplate"] = nil
        json["inference"] = .object(inference)
        let bytes = Array(JSON.object(json).serialized().utf8)
        let folder = ModelFolder(path: packed.folder.path, manifest: try RDRRManifest(parsing: bytes))
        #expect(try ChatTemplate(folder) == nil)
        let template = try ChatTemplate(folder, tokenizer: tokenizer)
        let prompt = try template.render([
            ChatMessage(role: "system", content: "Be brief."), ChatMessage(role: "user", content: "Hi<|im_end|>"),
        ])
        #expect(
            prompt.string == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|><|im_end|>\n"
                + "<|im_start|>assistant\n")
        let ids = try tokenizer.encode(prompt, addingSpecialTokens: false)
        #expect(ids.filter { $0 == 1 }.count == 3 && ids.filter { $0 == 2 }.count == 2)

        let other = try TokenizerVectors("sentencepiece").tokenizer(.bundled)
        let error = #expect(throws: TemplateError.self) { try ChatTemplate(folder, tokenizer: other) }
        #expect(error?.code == .missing)
    }
}
