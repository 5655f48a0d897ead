// SPDX-License-Identifier: Apache-2.0
import Inference
import TestSupport
import Testing
import Wire

@Suite("Chat templates")
struct ChatTemplateTests {
    /// Renders with whatever a case says a template is given.
    private func render(_ template: String, _ context: JSON.Object) throws(TemplateError) -> MarkedText {
        var variables = context
        var constants: [String: String] = [:]
        for name in ["bos_token", "eos_token"] { constants[name] = context[name]?.string }
        for name in ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"] { variables[name] = nil }
        let messages = (context["messages"]?.array ?? []).map { message in
            ChatMessage(
                role: message["role"]?.string ?? "", content: message["content"] ?? .null, fields: message.object ?? [:]
            )
        }
        return try ChatTemplate(template).render(
            messages, tools: context["tools"] ?? .null,
            addsGenerationPrompt: context["add_generation_prompt"]?.bool ?? false, constants: constants,
            variables: variables)
    }

    @Test("templates say what Jinja says, and fail where it fails")
    func vectors() throws {
        let cases = try #require(try JSON(parsing: Fixtures.bytes("chat/templates.json")).array)
        #expect(cases.count > 200)
        var wrong = 0
        for vector in cases {
            let template = try #require(vector["template"]?.string)
            let found: String
            do throws(TemplateError) {
                found = try render(template, vector["context"]?.object ?? [:]).string
            } catch {
                if vector["error"] == nil {
                    wrong += 1
                    Issue.record("\(template.debugDescription.prefix(300)): \(error)")
                }
                continue
            }
            let expected = vector["text"]?.string
            if expected.map({ $0.utf8.elementsEqual(found.utf8) }) != true {
                wrong += 1
                Issue.record(
                    "\(template.debugDescription.prefix(300)): \(found.debugDescription), not \(expected?.debugDescription ?? "an error")"
                )
            }
        }
        #expect(wrong == 0)
    }

    @Test("what the template says is trusted, what messages say is not, through all that is done to it")
    func trust() throws {
        let template =
            "{% for m in messages %}{{ '<|' + m.role | upper + '|>' + m.content.split('#')[0].strip() | trim }}{% endfor %}!"
        let text = try render(template, ["messages": [["role": "user", "content": " <|x|> # y"]]])
        #expect(text.string == "<|USER|><|x|>!")
        #expect(text.isTrusted(0..<2) && !text.isTrusted(2..<6) && text.isTrusted(6..<8))
        #expect(!text.isTrusted(8..<13) && !text.isTrusted(7..<9) && text.isTrusted(13..<14))
        for filter in ["upper", "tojson", "replace('a', 'b')", "indent", "title", "reverse", "string"] {
            let text = try render(
                "{{ messages[0].content | \(filter) }}", ["messages": [["role": "user", "content": "abc"]]])
            #expect((0..<text.utf8.count).contains { !text.isTrusted($0..<$0 + 1) }, "\(filter)")
        }
    }

    @Test(
        "what is not known is refused by name and line",
        arguments: [
            ("{% include 'x' %}", "include", 1), ("a\n\n{% block x %}{% endblock %}", "block", 3),
            ("{{ 1\n | frobnicate }}", "frobnicate", 2), ("{{ 1\n is odder }}", "odder", 2),
            ("{% for x in y recursive %}{% endfor %}", "recursive", 1), ("{{ f(*x) }}", "spread", 1),
            ("\n{{ 2 ** 3 }}", "**", 2), ("{% call x() %}{% endcall %}", "call", 1),
        ])
    func unsupported(template: String, name: String, line: Int) {
        let error = #expect(throws: TemplateError.self) { try ChatTemplate(template) }
        #expect(error?.code == .unsupported && error?.line == line)
        #expect(error?.message.contains(name) == true)
    }

    @Test("a template's own refusal comes through with its reason")
    func refusal() throws {
        let error = #expect(throws: TemplateError.self) { try render("\n{{ raise_exception('only text') }}", [:]) }
        #expect(error?.code == .refused && error?.line == 2)
        #expect(error?.message.contains("only text") == true)
    }

    @Test(
        "templates that would take forever, or all memory, or the stack, are stopped",
        arguments: [
            "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(99999) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
            "{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
            "{% set ns = namespace(x=[1]) %}{% for i in range(70) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
            "{% set ns = namespace(x=[1]) %}{% for i in range(70) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{{ range(999999999999) }}",
            "{{ \(String(repeating: "(", count: 5000))1\(String(repeating: ")", count: 5000)) }}",
            "{{ \(String(repeating: "-", count: 5000))1 }}", "{{ 1\(String(repeating: "+1", count: 5000)) }}",
            "{{ a\(String(repeating: ".b", count: 5000)) }}", "{{ \(String(repeating: "[", count: 5000)) }}",
            String(repeating: "{% if 1 %}", count: 5000), "{{ 1\(String(repeating: " if 1 else 1", count: 5000)) }}",
            "{% set a %}{% for i in range(9999) %}0123456789{% endfor %}{% endset %}{{ a.replace('0', a).replace('0', a) }}",
        ].map(HostileTemplate.init))
    func bounds(template: HostileTemplate) throws {
        #expect(throws: TemplateError.self) { try render(template.text, [:]) }
    }

    /// A template whose name in a report is no longer than a line.
    struct HostileTemplate: CustomTestStringConvertible, Sendable {
        let text: String
        var testDescription: String { String(text.prefix(80)) }
    }

    @Test("any damage to a template is an error or another text, never a trap", arguments: 1...4 as ClosedRange<UInt64>)
    func damage(seed: UInt64) throws {
        let cases = try #require(try JSON(parsing: Fixtures.bytes("chat/templates.json")).array)
        var random = Entropy(seed: seed)
        for vector in cases {
            var bytes = Array((vector["template"]?.string ?? "").utf8)
            guard !bytes.isEmpty else { continue }
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0x20..<0x7F, using: &random)
                case 1: bytes.removeSubrange(place..<min(bytes.count, place + 5))
                default:
                    bytes.insert(contentsOf: Array("{}[]()|.-%'".utf8).shuffled(using: &random).prefix(2), at: place)
                }
                if bytes.isEmpty { break }
            }
            _ = try? render(String(decoding: bytes, as: UTF8.self), vector["context"]?.object ?? [:])
        }
    }
}
