// SPDX-License-Identifier: Apache-2.0
internal import Inference
internal import Wire

/// A token with how likely it was, as it is told.
struct TokenChance: Hashable, Sendable {
    /// A token's bytes, and the natural logarithm of its probability.
    struct Entry: Hashable, Sendable {
        let bytes: [UInt8]
        let logProbability: Float

        var text: String { String(decoding: bytes, as: UTF8.self) }
        /// JSON has no −∞; what has no chance at all is −9999 in OpenAI's interface.
        var number: JSON { .number(logProbability.isFinite ? Double(logProbability) : -9999) }

        /// Chat's form of it.
        var members: JSON.Object {
            [
                "token": .string(text), "logprob": number, "bytes": .array(bytes.map { .integer(Int64($0)) }),
            ]
        }
    }

    let own: Entry
    let top: [Entry]

    init(own: Entry, top: [Entry]) {
        self.own = own
        self.top = top
    }

    /// What the engine tells about a token; `nil` where nobody asked for it.
    init?(_ token: GeneratedToken, _ tokenizer: Tokenizer) {
        guard let probabilities = token.probabilities else { return nil }
        own = Entry(bytes: tokenizer.bytes(of: token.id), logProbability: probabilities.own)
        top = probabilities.top.map {
            Entry(bytes: tokenizer.bytes(of: $0.token), logProbability: $0.logProbability)
        }
    }
}

/// What texts took.
struct TextUsage: Hashable, Sendable {
    var promptTokens = 0
    var cachedTokens = 0
    var completionTokens = 0

    var json: JSON {
        [
            "prompt_tokens": .integer(Int64(promptTokens)), "completion_tokens": .integer(Int64(completionTokens)),
            "total_tokens": .integer(Int64(promptTokens + completionTokens)),
            "prompt_tokens_details": ["cached_tokens": .integer(Int64(cachedTokens))],
        ]
    }
}

/// A text that came to its end.
struct TextChoice: Sendable {
    var text = ""
    var chances: [TokenChance] = []
    var finish: String

    /// Why a text ended, as OpenAI's interface says it; `nil` where it did not come to its end.
    static func finish(_ reason: GenerationEnd.Reason) -> String? {
        switch reason {
        case .endOfText, .stopSequence: "stop"
        case .length, .contextFull: "length"
        case .cancelled: nil
        }
    }
}

/// Writes what a request is answered with: whole, or in pieces.
struct TextResponse: Sendable {
    let kind: TextRequest.Kind
    let id: String
    /// Seconds since 1970.
    let created: Int64
    let model: String
    let fingerprint: String
    /// Whether pieces have a field for what the texts took.
    let includesUsage: Bool
    /// Whether probabilities were asked for.
    let hasChances: Bool

    /// The whole answer.
    func whole(_ choices: [TextChoice], _ usage: TextUsage) -> JSON {
        let list = choices.enumerated().map { index, choice in
            var object: JSON.Object = ["index": .integer(Int64(index))]
            switch kind {
            case .chat:
                object["message"] = ["role": "assistant", "content": .string(choice.text), "refusal": .null]
            case .completion: object["text"] = .string(choice.text)
            }
            object["logprobs"] = hasChances ? chances(choice.chances, offset: 0) : .null
            object["finish_reason"] = .string(choice.finish)
            return JSON.object(object)
        }
        var object = envelope(kind == .chat ? "chat.completion" : "text_completion")
        object["choices"] = .array(list)
        object["usage"] = usage.json
        return .object(object)
    }

    /// The first piece of a text, where there is one before its first token.
    func opening(_ index: Int) -> JSON? {
        guard kind == .chat else { return nil }
        return piece(index, delta: ["role": "assistant", "content": "", "refusal": .null], chances: nil, finish: nil)
    }

    /// A piece of a text; `offset` characters (Unicode scalars) came before.
    func piece(_ index: Int, _ text: String, _ chance: TokenChance?, offset: Int) -> JSON {
        piece(
            index, delta: kind == .chat ? ["content": .string(text)] : ["text": .string(text)],
            chances: chance.map { chances([$0], offset: offset) }, finish: nil)
    }

    /// The last piece of a text.
    func closing(_ index: Int, _ finish: String) -> JSON {
        piece(index, delta: kind == .chat ? [:] : ["text": ""], chances: nil, finish: finish)
    }

    /// The piece after all texts, if what they took is wanted.
    func ending(_ usage: TextUsage) -> JSON? {
        guard includesUsage else { return nil }
        var object = envelope(kind == .chat ? "chat.completion.chunk" : "text_completion")
        object["choices"] = []
        object["usage"] = usage.json
        return .object(object)
    }

    private func piece(_ index: Int, delta: JSON.Object, chances: JSON?, finish: String?) -> JSON {
        var choice: JSON.Object = ["index": .integer(Int64(index))]
        switch kind {
        case .chat: choice["delta"] = .object(delta)
        case .completion: choice["text"] = delta["text"] ?? ""
        }
        choice["logprobs"] = chances ?? .null
        choice["finish_reason"] = finish.map { .string($0) } ?? .null
        var object = envelope(kind == .chat ? "chat.completion.chunk" : "text_completion")
        object["choices"] = [.object(choice)]
        if includesUsage { object["usage"] = .null }
        return .object(object)
    }

    private func envelope(_ name: String) -> JSON.Object {
        [
            "id": .string(id), "object": .string(name), "created": .integer(created), "model": .string(model),
            "system_fingerprint": .string(fingerprint),
        ]
    }

    // MARK: Probabilities

    private func chances(_ chances: [TokenChance], offset: Int) -> JSON {
        switch kind {
        case .chat:
            let content = chances.map { chance in
                var object = chance.own.members
                object["top_logprobs"] = .array(chance.top.map { .object($0.members) })
                return JSON.object(object)
            }
            return ["content": .array(content), "refusal": .null]
        case .completion:
            var offset = offset
            var offsets: [JSON] = []
            for chance in chances {
                offsets.append(.integer(Int64(offset)))
                offset += chance.own.text.unicodeScalars.count
            }
            let top = chances.map { chance in
                var object: JSON.Object = [:]
                // The token that was chosen is always among them.
                for entry in chance.top + [chance.own] { object[entry.text] = entry.number }
                return JSON.object(object)
            }
            return [
                "tokens": .array(chances.map { .string($0.own.text) }),
                "token_logprobs": .array(chances.map { $0.own.number }), "top_logprobs": .array(top),
                "text_offset": .array(offsets),
            ]
        }
    }
}
