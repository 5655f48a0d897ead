// SPDX-License-Identifier: Apache-2.0
public import RDRR
public import Wire

/// How a model wants conversations to be put: a template in the language Jinja, of which the part is known that such
/// templates use. What is not known is refused by name and line, when the template is read where that can be.
public struct ChatTemplate: Sendable {
    private let statements: [TemplateStatement]

    /// The most bytes that a template may have.
    private static let longest = 1 << 20

    /// Reads a template.
    public init(_ source: String) throws(TemplateError) {
        guard source.utf8.count <= Self.longest else {
            throw TemplateError(.limit, line: 0, "\(source.utf8.count) bytes are more than \(Self.longest)")
        }
        statements = try TemplateParser.parse(source)
    }

    /// The template that a model folder brings; `nil` if it brings none.
    public init?(_ folder: ModelFolder) throws(TemplateError) {
        let manifest = folder.manifest
        guard let name = manifest.json["inference"]?["chatTemplate"]?["file"]?.string else { return nil }
        guard manifest.entries.contains(where: { $0.name == name }) else {
            throw TemplateError(.missing, line: 0, "the model has no file \(name.prefix(100))")
        }
        let source: String
        do throws(RDRRError) {
            let file = try MappedFile(path: "\(folder.path)/\(name)")
            guard file.count <= Self.longest else {
                throw RDRRError(.tooLarge, at: name, "it has \(file.count) bytes", advice: "use another")
            }
            source = String(decoding: [UInt8](copying: file.bytes), as: UTF8.self)
        } catch {
            throw TemplateError(.missing, line: 0, error.description)
        }
        try self.init(source)
    }

    /// The template that a model folder brings; where it brings none, ChatML if the vocabulary has its control tokens,
    /// which are there for nothing else.
    public init(_ folder: ModelFolder, tokenizer: Tokenizer) throws(TemplateError) {
        if let own = try ChatTemplate(folder) {
            self = own
            return
        }
        let isChatML = ["<|im_start|>", "<|im_end|>"].allSatisfy { name in
            tokenizer.token(named: name).map { tokenizer.kind(of: $0) == .control } ?? false
        }
        guard isChatML else {
            throw TemplateError(
                .missing, line: 0, "the model brings none, and its vocabulary does not say how to talk to it")
        }
        try self.init(Self.chatML)
    }

    /// The format of which `<|im_start|>` and `<|im_end|>` are the tokens.
    private static let chatML = """
        {% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' \
        + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """

    /// The prompt for a conversation. What the template says is trusted, what the messages say is not: encode it as it
    /// is, without further special tokens.
    ///
    /// - Parameters:
    ///   - tools: descriptions of functions that the model may call.
    ///   - addsGenerationPrompt: whether the prompt ends where the assistant is to speak.
    ///   - constants: trusted texts: `bos_token` and the like.
    ///   - variables: what else the template may ask for, such as `enable_thinking`; not trusted.
    public func render(
        _ messages: [ChatMessage], tools: JSON = .null, addsGenerationPrompt: Bool = true,
        constants: [String: String] = [:], variables: JSON.Object = [:]
    ) throws(TemplateError) -> MarkedText {
        var values: [String: TemplateValue] = [:]
        for (name, value) in variables { values[name] = TemplateValue(value, isTrusted: false) }
        for (name, text) in constants { values[name] = .string(MarkedText(text, isTrusted: true)) }
        values["messages"] = .list(messages.map { TemplateValue($0.json, isTrusted: false) })
        values["tools"] = TemplateValue(tools, isTrusted: false)
        values["add_generation_prompt"] = .bool(addsGenerationPrompt)
        var interpreter = TemplateInterpreter(variables: values, limits: .init())
        return try interpreter.run(statements)
    }
}

extension Tokenizer {
    /// The names of special tokens as templates ask for them.
    public var templateConstants: [String: String] {
        var constants: [String: String] = [:]
        for (name, token) in [
            ("bos_token", beginning), ("eos_token", end), ("pad_token", padding), ("unk_token", unknown),
        ] {
            if let token { constants[name] = String(decoding: bytes(of: token), as: UTF8.self) }
        }
        return constants
    }
}
