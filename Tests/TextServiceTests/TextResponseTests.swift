// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import TextService

@Suite("Answers")
struct TextResponseTests {
    private func response(_ kind: TextRequest.Kind, usage: Bool = false, chances: Bool = false) -> TextResponse {
        TextResponse(
            kind: kind, id: "i", created: 5, model: "m", fingerprint: "f", includesUsage: usage, hasChances: chances)
    }

    private let chance = TokenChance(
        own: .init(bytes: [0x68, 0xC3, 0xA9], logProbability: -0.5),
        top: [.init(bytes: [0x61], logProbability: -0.25), .init(bytes: [0xE2, 0x96], logProbability: -.infinity)])

    private static let envelope: JSON.Object = ["id": "i", "created": 5, "model": "m", "system_fingerprint": "f"]

    private func expect(_ json: JSON?, _ object: String, _ more: String) throws {
        var expected = Self.envelope
        expected["object"] = .string(object)
        for (name, value) in try #require(JSON(parsing: more).object) { expected[name] = value }
        let found = try #require(json?.object)
        #expect(found.count == expected.count, "\(json?.serialized() ?? "")")
        for (name, value) in expected { #expect(found[name] == value, "\(name): \(json?.serialized() ?? "")") }
    }

    @Test("a conversation is answered whole")
    func chat() throws {
        let usage = TextUsage(promptTokens: 3, cachedTokens: 2, completionTokens: 4)
        try expect(
            response(.chat).whole([TextChoice(text: "a\"b", finish: "stop")], usage), "chat.completion",
            #"""
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a\"b", "refusal": null},
              "logprobs": null, "finish_reason": "stop"}],
             "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
              "prompt_tokens_details": {"cached_tokens": 2}}}
            """#)
    }

    @Test("a conversation is answered in pieces")
    func chatPieces() throws {
        let response = response(.chat)
        try expect(
            response.opening(1), "chat.completion.chunk",
            #"""
            {"choices": [{"index": 1, "delta": {"role": "assistant", "content": "", "refusal": null},
              "logprobs": null, "finish_reason": null}]}
            """#
        )
        try expect(
            response.piece(0, "x", nil, offset: 0), "chat.completion.chunk",
            #"{"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": null, "finish_reason": null}]}"#)
        try expect(
            response.closing(0, "length"), "chat.completion.chunk",
            #"{"choices": [{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "length"}]}"#)
        #expect(response.ending(TextUsage()) == nil)
    }

    @Test("texts are answered whole and in pieces")
    func completion() throws {
        let response = response(.completion, usage: true)
        let choices = [TextChoice(text: "a", finish: "stop"), TextChoice(text: "b", finish: "length")]
        try expect(
            response.whole(choices, TextUsage(promptTokens: 1, completionTokens: 2)), "text_completion",
            #"""
            {"choices": [{"index": 0, "text": "a", "logprobs": null, "finish_reason": "stop"},
                         {"index": 1, "text": "b", "logprobs": null, "finish_reason": "length"}],
             "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
              "prompt_tokens_details": {"cached_tokens": 0}}}
            """#)
        #expect(response.opening(0) == nil)
        try expect(
            response.piece(0, "a", nil, offset: 0), "text_completion",
            #"{"choices": [{"index": 0, "text": "a", "logprobs": null, "finish_reason": null}], "usage": null}"#)
        try expect(
            response.ending(TextUsage(promptTokens: 1, completionTokens: 2)), "text_completion",
            #"""
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
              "prompt_tokens_details": {"cached_tokens": 0}}}
            """#)
    }

    @Test("probabilities are told, and bytes that are no text as well")
    func chances() throws {
        let chat = response(.chat, chances: true).piece(0, "hé", chance, offset: 0)
        #expect(
            try chat["choices"]?.array?.first?["logprobs"]
                == JSON(
                    parsing: #"""
                        {"content": [{"token": "hé", "logprob": -0.5, "bytes": [104, 195, 169], "top_logprobs": [
                          {"token": "a", "logprob": -0.25, "bytes": [97]},
                          {"token": "\ufffd", "logprob": -9999, "bytes": [226, 150]}]}], "refusal": null}
                        """#.replacing("-9999", with: "-9999.0")))
        let choice = TextChoice(text: "héhé", chances: [chance, chance], finish: "stop")
        let text = response(.completion, chances: true).whole([choice], TextUsage())
        #expect(
            try text["choices"]?.array?.first?["logprobs"]
                == JSON(
                    parsing: #"""
                        {"tokens": ["hé", "hé"], "token_logprobs": [-0.5, -0.5], "top_logprobs": [
                          {"a": -0.25, "\ufffd": -9999.0, "hé": -0.5}, {"a": -0.25, "\ufffd": -9999.0, "hé": -0.5}],
                         "text_offset": [0, 2]}
                        """#))
    }

    @Test("an end of the context is an end by length")
    func reasons() {
        #expect(TextChoice.finish(.endOfText) == "stop" && TextChoice.finish(.stopSequence) == "stop")
        #expect(TextChoice.finish(.length) == "length" && TextChoice.finish(.contextFull) == "length")
        #expect(TextChoice.finish(.cancelled) == nil)
    }
}
