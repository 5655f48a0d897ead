// SPDX-License-Identifier: Apache-2.0
public import Wire

/// A message of a conversation.
public struct ChatMessage: Hashable, Sendable {
    /// Who speaks: "system", "user", "assistant", "tool".
    public var role: String
    /// What is said: text, or a list of parts as in OpenAI's interface.
    public var content: JSON
    /// What else templates look for: `tool_calls`, `reasoning_content` and the like.
    public var fields: JSON.Object

    /// A message of text.
    public init(role: String, content: String) {
        self.init(role: role, content: .string(content))
    }

    /// A message of any content.
    public init(role: String, content: JSON, fields: JSON.Object = [:]) {
        self.role = role
        self.content = content
        self.fields = fields
    }

    /// The message as templates see it.
    var json: JSON {
        var object: JSON.Object = ["role": .string(role), "content": content]
        for (name, value) in fields where name != "role" && name != "content" { object[name] = value }
        return .object(object)
    }
}
