// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Inference
import RDRR
import Wire

/// `dreamer tokenize DIR`
struct TokenizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenize",
        abstract: "Turn standard input into a model's tokens, or tokens into text.",
        discussion: """
            Each byte counts, a line end after the last word too: printf says a text without one. Ids come one in a line. \
            Names of control tokens are text like any other, as when a user types them, unless --special is given.
            """)

    @Argument(help: "The folder with manifest.json.")
    var folder: String

    @Flag(help: "Print what each token says beside it.")
    var pieces = false

    @Flag(help: "Take names of control tokens in the text for those tokens; with --decode, print them.")
    var special = false

    @Flag(help: "Leave out the tokens that the model wants around a text.")
    var bare = false

    @Flag(help: "Take the text for what a user says, and put it into the model's chat template.")
    var chat = false

    @Flag(help: "Turn ids into text.")
    var decode = false

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        if decode, pieces || bare || chat {
            throw ValidationError("--decode makes text: leave --pieces, --bare and --chat out")
        }
        if chat, special || bare {
            throw ValidationError("--chat makes the tokens that a chat has: leave --special and --bare out")
        }
    }

    func run() throws {
        let model = try ModelFolder(opening: folder)
        let tokenizer = try Tokenizer(model)
        let input = try StandardInput.bytes(limit: Tokenizer.longestText)
        if decode {
            let text = tokenizer.decode(try ids(input, tokenizer), skippingControlTokens: !special)
            if json {
                Terminal.output(JSON.object(["text": .string(text)]).serialized())
            } else {
                Terminal.outputText(text)
            }
            return
        }
        let tokens: [Int32]
        if chat {
            let template = try ChatTemplate(model, tokenizer: tokenizer)
            let message = ChatMessage(role: "user", content: String(decoding: input, as: UTF8.self))
            let prompt = try template.render([message], constants: tokenizer.templateConstants)
            tokens = try tokenizer.encode(prompt, addingSpecialTokens: false)
        } else {
            let text = MarkedText(repairing: input, isTrusted: special)
            tokens = try tokenizer.encode(text, addingSpecialTokens: !bare)
        }
        if json { show(asJSON: tokens, tokenizer) } else { show(tokens, tokenizer) }
    }

    /// The numbers of a text, whatever stands between them.
    private func ids(_ input: [UInt8], _ tokenizer: Tokenizer) throws -> [Int32] {
        let separators = Array(" \t\r\n,[]".utf8)
        return try input.split(whereSeparator: { separators.contains($0) }).map { word in
            let text = String(decoding: word.prefix(50), as: UTF8.self)
            guard let id = Int32(text), tokenizer.kind(of: id) != nil else {
                throw CommandFailure(
                    "standard input: “\(text)” is no token (tokens are numbers from 0 to \(tokenizer.count - 1))")
            }
            return id
        }
    }

    private func show(asJSON tokens: [Int32], _ tokenizer: Tokenizer) {
        var result: JSON.Object = ["tokens": .array(tokens.map { .integer(Int64($0)) })]
        if pieces {
            result["pieces"] = .array(
                tokens.map { .string(String(decoding: tokenizer.bytes(of: $0), as: UTF8.self)) })
        }
        Terminal.output(JSON.object(result).serialized())
    }

    private func show(_ tokens: [Int32], _ tokenizer: Tokenizer) {
        // A write for each line would take most of the time.
        for start in stride(from: 0, to: tokens.count, by: 4096) {
            var text = ""
            for token in tokens[start..<min(start + 4096, tokens.count)] {
                text += pieces ? "\(token)\t\(Self.printable(tokenizer.bytes(of: token)))\n" : "\(token)\n"
            }
            Terminal.outputText(text)
        }
    }

    /// Bytes as they can be shown in a line: control characters, backslashes and what is no whole character as escapes.
    private static func printable(_ bytes: [UInt8]) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            return bytes.map { byte in
                (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "\\")
                    ? String(Unicode.Scalar(byte)) : "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }.joined()
        }
        var shown = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": shown += "\\\\"
            case "\n": shown += "\\n"
            case "\t": shown += "\\t"
            case "\r": shown += "\\r"
            default:
                switch scalar.properties.generalCategory {
                case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .privateUse:
                    shown += "\\u{\(String(scalar.value, radix: 16))}"
                default: shown.unicodeScalars.append(scalar)
                }
            }
        }
        return shown
    }
}
