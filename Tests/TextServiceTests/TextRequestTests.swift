// SPDX-License-Identifier: Apache-2.0
import Inference
import Testing
import Wire

@testable import TextService

@Suite("Requests")
struct TextRequestTests {
    private func read(_ kind: TextRequest.Kind, _ text: String) throws -> TextRequest {
        try TextRequest(kind, JSON(parsing: text))
    }

    @Test("a conversation brings all that it may say")
    func chat() throws {
        let request = try read(
            .chat,
            #"""
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
             "max_tokens": 5, "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.25, "top_k": 3, "min_p": 0.125,
             "repetition_penalty": 1.5, "frequency_penalty": -2, "presence_penalty": 2,
             "logit_bias": {"4": 1.5, "5": -100},
             "stop": ["a", "b"], "seed": -1, "n": 2, "stream": true, "stream_options": {"include_usage": true},
             "logprobs": true, "top_logprobs": 4, "user": "u", "tools": [], "tool_choice": "none",
             "response_format": {"type": "text"}, "modalities": ["text"], "store": false, "whatever": {"a": [1]},
             "chat_template_kwargs": {"enable_thinking": false}}
            """#)
        var expected = SamplingOptions()
        expected.temperature = 0.5
        expected.topP = 0.25
        expected.topK = 3
        expected.minP = 0.125
        expected.repetitionPenalty = 1.5
        expected.frequencyPenalty = -2
        expected.presencePenalty = 2
        expected.logitBias = [4: 1.5, 5: -.infinity]
        expected.seed = .max
        let parameters = request.parameters
        #expect(parameters.sampling == expected)
        #expect(parameters.model == "m" && parameters.maxTokens == 7 && parameters.stops == ["a", "b"])
        #expect(parameters.choices == 2 && parameters.isStreamed && parameters.includesUsage)
        #expect(parameters.topProbabilities == 4)
        #expect(
            request.input
                == .conversation([ChatMessage(role: "user", content: "Hi")], variables: ["enable_thinking": false]))
    }

    @Test("what is not said, or said to be null, is as OpenAI has it")
    func defaults() throws {
        let chat = try read(
            .chat,
            #"""
            {"messages": [{"role": "user", "content": "x"}], "temperature": null, "stop": null, "tools": null,
             "stream_options": null, "logit_bias": null, "seed": null, "n": null}
            """#
        ).parameters
        #expect(chat.sampling == SamplingOptions())
        #expect(chat.maxTokens == nil && chat.choices == 1 && !chat.isStreamed && chat.stops.isEmpty)
        #expect(chat.topProbabilities == nil && chat.model == nil)
        let completion = try read(.completion, #"{"prompt": "x"}"#).parameters
        #expect(completion.maxTokens == 16 && completion.sampling == SamplingOptions())
    }

    @Test(
        "prompts come as texts and as tokens",
        arguments: [
            (#""a""#, [.text("a")]), (#"["a", "b"]"#, [.text("a"), .text("b")]), ("[1, 2]", [.tokens([1, 2])]),
            ("[[1], [2, 3]]", [.tokens([1]), .tokens([2, 3])]), (#"[""]"#, [.text("")]),
            (#"["a", [1]]"#, [.text("a"), .tokens([1])]),
        ] as [(String, [TextRequest.Prompt])])
    func prompts(json: String, expected: [TextRequest.Prompt]) throws {
        #expect(try read(.completion, #"{"prompt": \#(json)}"#).input == .prompts(expected))
    }

    @Test(
        "numbers are taken in the forms that languages write them in",
        arguments: [("max_tokens", "4.0"), ("max_tokens", "4"), ("n", "1.0"), ("top_k", "-1"), ("best_of", "1")])
    func numbers(name: String, value: String) throws {
        _ = try read(.completion, #"{"prompt": "x", "\#(name)": \#(value)}"#)
    }

    @Test("nothing reaches a probability of zero: the likeliest token is taken")
    func zeroNucleus() throws {
        let sampling = try read(.completion, #"{"prompt": "x", "top_p": 0}"#).parameters.sampling
        #expect(sampling.topK == 1 && sampling.topP == 1)
    }

    static let refusedChats: [(String, String)] = [
        (#""temperature": 2.1"#, "temperature"), (#""temperature": "hot""#, "temperature"),
        (#""temperature": -1"#, "temperature"), (#""top_p": 1.5"#, "top_p"), (#""top_k": 1.5"#, "top_k"),
        (#""top_k": -2"#, "top_k"), (#""min_p": 2"#, "min_p"), (#""repetition_penalty": 0"#, "repetition_penalty"),
        (#""frequency_penalty": 3"#, "frequency_penalty"), (#""presence_penalty": -3"#, "presence_penalty"),
        (#""logit_bias": []"#, "logit_bias"), (#""logit_bias": {"x": 1}"#, "logit_bias"),
        (#""logit_bias": {"-1": 1}"#, "logit_bias"), (#""logit_bias": {"1": 101}"#, "logit_bias"),
        (#""max_tokens": 0"#, "max_tokens"), (#""max_tokens": 1e99"#, "max_tokens"),
        (#""max_completion_tokens": -4"#, "max_completion_tokens"), (#""n": 0"#, "n"), (#""n": 65"#, "n"),
        (#""stop": 5"#, "stop"), (#""stop": [""]"#, "stop"), (#""stop": ["a", 1]"#, "stop"), (#""seed": 1.5"#, "seed"),
        (#""stream": 1"#, "stream"), (#""stream_options": {}"#, "stream_options"), (#""model": 4"#, "model"),
        (#""logprobs": 3"#, "logprobs"), (#""top_logprobs": 3"#, "top_logprobs"),
        (#""logprobs": true, "top_logprobs": 21"#, "top_logprobs"),
        (#""tools": [{"type": "function"}]"#, "tools"), (#""functions": [{}]"#, "functions"),
        (#""tool_choice": "required""#, "tool_choice"),
        (#""response_format": {"type": "json_object"}"#, "response_format"),
        (#""response_format": 1"#, "response_format"),
        (#""modalities": ["audio"]"#, "modalities"), (#""audio": {}"#, "audio"),
        (#""chat_template_kwargs": 1"#, "chat_template_kwargs"),
    ]

    @Test("what cannot be is refused, and named", arguments: refusedChats)
    func refusedChat(fields: String, parameter: String) throws {
        let error = #expect(throws: APIError.self) {
            try read(.chat, #"{"messages": [{"role": "user", "content": "x"}], \#(fields)}"#)
        }
        #expect(error?.status == 400 && error?.parameter == parameter && error?.type == "invalid_request_error")
    }

    @Test(
        "texts that cannot be gone on with are refused",
        arguments: [
            ("{}", "prompt"), (#"{"prompt": 5}"#, "prompt"), (#"{"prompt": []}"#, "prompt"),
            (#"{"prompt": [1, "a"]}"#, "prompt"), (#"{"prompt": [-1]}"#, "prompt"),
            (#"{"prompt": [4294967296]}"#, "prompt"),
            (#"{"prompt": [1.5]}"#, "prompt"), (#"{"prompt": ["a", {}]}"#, "prompt"),
            (#"{"prompt": ["a", "b"], "n": 33}"#, "prompt"), (#"{"prompt": "x", "echo": true}"#, "echo"),
            (#"{"prompt": "x", "suffix": "y"}"#, "suffix"), (#"{"prompt": "x", "best_of": 2}"#, "best_of"),
            (#"{"prompt": "x", "logprobs": 21}"#, "logprobs"), (#"{"prompt": "x", "logprobs": true}"#, "logprobs"),
        ])
    func refusedCompletion(text: String, parameter: String) throws {
        let error = #expect(throws: APIError.self) { try read(.completion, text) }
        #expect(error?.status == 400 && error?.parameter == parameter)
    }

    @Test(
        "a body that is no object, or has no messages, is refused", arguments: ["[]", "5", "{}", #"{"messages": []}"#])
    func noChat(text: String) {
        let error = #expect(throws: APIError.self) { try read(.chat, text) }
        #expect(error?.status == 400)
    }

    @Test("a picture is refused where it stands")
    func picture() {
        let error = #expect(throws: APIError.self) {
            try read(.chat, #"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#)
        }
        #expect(error?.parameter == "messages[0].content[0].type")
    }

    @Test("errors have OpenAI's form")
    func errors() {
        #expect(
            APIError(429, "later", type: "rate_limit_error", parameter: "n", code: "queue_full", retryAfter: 1).json
                == [
                    "error": ["message": "later", "type": "rate_limit_error", "param": "n", "code": "queue_full"]
                ])
        #expect(APIError(400, "no").json["error"]?["code"] == .null)
    }

    @Test(
        "faults of the engine become statuses",
        arguments: [
            (.tooLong, 400, "context_length_exceeded"), (.invalidOption, 400, "invalid_value"),
            (.busy, 429, "queue_full"),
            (.device, 503, "service_unavailable"), (.invalidNumbers, 500, nil),
        ] as [(InferenceError.Code, Int, String?)])
    func faults(code: InferenceError.Code, status: Int, name: String?) {
        let error = APIError(InferenceError(code, at: "x", "y", advice: "z"), parameter: "prompt")
        #expect(error.status == status && error.code == name)
    }
}
