// SPDX-License-Identifier: Apache-2.0
public import Wire

/// What is wrong with a conversation that came as JSON: where, and what to do about it.
public struct ChatMessageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Where: `messages[2].content`.
    public let place: String
    /// What was found and what was expected, in words.
    public let message: String

    @inline(never)
    init(_ place: String, _ message: String) {
        self.place = place
        self.message = message
    }

    /// The fault in one line.
    public var description: String { "\(place): \(message)" }
}

extension ChatMessage {
    /// Reads the `messages` of a request to OpenAI's chat interface.
    ///
    /// Content is text, or a list of parts of text, which are put together with line ends between them. Pictures, sound
    /// and files are refused. The role `developer` becomes `system`, its older name, which templates know.
    public static func conversation(openAI json: JSON) throws(ChatMessageError) -> [ChatMessage] {
        guard let list = json.array, !list.isEmpty else {
            throw ChatMessageError("messages", "a list of messages, one at least, was expected")
        }
        var messages: [ChatMessage] = []
        for (index, entry) in list.enumerated() {
            messages.append(try ChatMessage(openAI: entry, at: "messages[\(index)]"))
        }
        return messages
    }

    /// Reads one message of OpenAI's chat interface; `place` stands in errors.
    public init(openAI json: JSON, at place: String = "message") throws(ChatMessageError) {
        guard json.object != nil else { throw ChatMessageError(place, "an object was expected") }
        guard let role = json["role"]?.string else {
            throw ChatMessageError("\(place).role", "a text was expected: system, user, assistant or tool")
        }
        guard ["system", "developer", "user", "assistant", "tool"].contains(role) else {
            throw ChatMessageError(
                "\(place).role", "“\(role.prefix(50))” is not known; system, user, assistant and tool are")
        }
        var fields: JSON.Object = [:]
        if let calls = json["tool_calls"], !calls.isNull {
            fields["tool_calls"] = try Self.toolCalls(calls, at: "\(place).tool_calls")
        }
        for name in ["name", "tool_call_id", "reasoning_content"] {
            guard let value = json[name], !value.isNull else { continue }
            guard value.string != nil else { throw ChatMessageError("\(place).\(name)", "a text was expected") }
            fields[name] = value
        }
        let content = json["content"] ?? .null
        if content.isNull {
            guard role == "assistant", fields["tool_calls"] != nil else {
                throw ChatMessageError("\(place).content", "text was expected, or a list of parts of it")
            }
            // Templates look at its length, or put it behind other text.
            self.init(role: role, content: "")
        } else {
            self.init(
                role: role == "developer" ? "system" : role, content: try Self.text(content, at: "\(place).content"))
        }
        self.fields = fields
    }

    private static func text(_ content: JSON, at place: String) throws(ChatMessageError) -> String {
        if let text = content.string { return text }
        guard let parts = content.array else {
            throw ChatMessageError(place, "text was expected, or a list of parts of it")
        }
        var texts: [String] = []
        for (index, part) in parts.enumerated() {
            let place = "\(place)[\(index)]"
            guard let type = part["type"]?.string else {
                throw ChatMessageError(place, "a part with a type was expected")
            }
            guard type == "text" else {
                throw ChatMessageError(
                    "\(place).type", "parts of the type “\(type.prefix(50))” cannot be used: only text can")
            }
            guard let text = part["text"]?.string else {
                throw ChatMessageError("\(place).text", "a text was expected")
            }
            texts.append(text)
        }
        return texts.joined(separator: "\n")
    }

    /// Calls of functions. Arguments come as a text of JSON, but templates expect the value that it says; what is no
    /// JSON, as a model may write it, stays text.
    private static func toolCalls(_ calls: JSON, at place: String) throws(ChatMessageError) -> JSON {
        guard let list = calls.array else { throw ChatMessageError(place, "a list was expected") }
        var read: [JSON] = []
        for (index, call) in list.enumerated() {
            guard var object = call.object, var function = call["function"]?.object,
                function["name"]?.string != nil
            else { throw ChatMessageError("\(place)[\(index)].function", "a function with a name was expected") }
            if let text = function["arguments"]?.string, let value = try? JSON(parsing: Array(text.utf8)) {
                function["arguments"] = value
            }
            object["function"] = .object(function)
            read.append(.object(object))
        }
        return .array(read)
    }
}
