// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@Suite("JSON")
struct JSONTests {
    @Test(
        "what is read is written again",
        arguments: [
            "null", "true", "false", "0", "-1", "9007199254740992", "1.5", "\"\"", "[]", "{}", "[1,[2,{\"a\":null}]]",
            "{\"b\":1,\"a\":\"x\\n\\\"\\\\ é 𝄞\"}",
        ])
    func roundTrip(text: String) throws {
        #expect(try JSON(parsing: text).serialized() == text)
    }

    @Test("escapes are decoded, surrogate pairs too")
    func escapes() throws {
        #expect(try JSON(parsing: #""\u0041\uD834\udd1e\/\b\f\t""#) == "A𝄞/\u{8}\u{c}\t")
        #expect(JSON.string("\u{0}\u{7f}").serialized() == #""\u0000\u007f""#)
    }

    @Test(
        "faults are named",
        arguments: [
            ("", JSONError.Code.truncated), ("{", .truncated), ("[1,", .truncated), ("\"a", .truncated),
            ("tru", .truncated),
            ("trux", .unexpectedCharacter), ("[1 2]", .unexpectedCharacter), ("{1:2}", .unexpectedCharacter),
            ("1 1", .unexpectedCharacter),
            ("01", .invalidNumber), ("1.", .invalidNumber), ("-", .truncated), ("1e999", .invalidNumber),
            ("[1,]", .unexpectedCharacter),
            ("\"\u{1}\"", .invalidString), (#""\ud800""#, .unexpectedCharacter), (#""\udc00""#, .invalidString),
            (#""\x""#, .invalidString),
            (#"{"a":1,"a":2}"#, .duplicateName),
        ])
    func faults(text: String, code: JSONError.Code) {
        let error = #expect(throws: JSONError.self) { try JSON(parsing: text) }
        #expect(error?.code == code)
    }

    @Test("invalid UTF-8 is refused")
    func invalidUTF8() {
        #expect(throws: JSONError.self) { try JSON(parsing: [0x22, 0xC0, 0x80, 0x22]) }
        #expect(throws: JSONError.self) { try JSON(parsing: [0x22, 0xED, 0xA0, 0x80, 0x22]) }
    }

    @Test("depth and the number of values are bounded")
    func limits() throws {
        let deep = String(repeating: "[", count: 8) + String(repeating: "]", count: 8)
        #expect(throws: Never.self) { try JSON(parsing: deep, limits: .init(depth: 8)) }
        #expect(throws: JSONError.self) { try JSON(parsing: "[" + deep + "]", limits: .init(depth: 8)) }
        #expect(throws: JSONError.self) { try JSON(parsing: String(repeating: "[", count: 1_000_000)) }
        #expect(throws: JSONError.self) { try JSON(parsing: "[1,2,3]", limits: .init(values: 3)) }
    }

    @Test("members keep their order and change in place")
    func order() throws {
        var object = try #require(JSON(parsing: #"{"z":1,"a":2,"m":3}"#).object)
        object["a"] = 9
        object["z"] = nil
        object["q"] = true
        #expect(JSON.object(object).serialized() == #"{"a":9,"m":3,"q":true}"#)
        #expect(JSON.object(object).serialized(indented: true) == "{\n  \"a\": 9,\n  \"m\": 3,\n  \"q\": true\n}")
    }

    @Test("names that only Unicode takes for equal are two names")
    func equivalentNames() throws {
        let object = try #require(JSON(parsing: #"{"\u00e9":1,"e\u0301":2}"#).object)
        #expect(object.count == 2)
        #expect(object["\u{e9}"] == 1 && object["e\u{301}"] == 2)
    }

    @Test("random bytes never trap")
    func randomBytes() {
        var entropy = Entropy(seed: 7)
        let alphabet = Array("{}[]\",:\\u0123456789eE+-.truefalsnl \u{1}é".utf8)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0..<40, using: &entropy)).map { _ in
                alphabet.randomElement(using: &entropy) ?? 0
            }
            _ = try? JSON(parsing: bytes)
        }
    }
}
