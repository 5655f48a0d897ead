// SPDX-License-Identifier: Apache-2.0
import Foundation
import TestSupport
import Testing

@Suite("The list of requirements")
struct ConformanceMapTests {
    @Test("every test that docs/CONFORMANCE.md names is there")
    func names() throws {
        let tests = Fixtures.checkout.appending(path: "Tests")
        let files = try #require(FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil))
        var sources: [String] = []
        for case let file as URL in files where file.pathExtension == "swift" {
            sources.append(try String(contentsOf: file, encoding: .utf8))
        }
        let text = try String(
            contentsOf: Fixtures.checkout.appending(path: "docs/CONFORMANCE.md"), encoding: .utf8)
        var count = 0
        for part in text.split(separator: "`") {
            let words = part.split(separator: ".")
            guard words.count == 2, words[0].hasSuffix("Tests") else { continue }
            count += 1
            let isThere = sources.contains { source in
                (source.contains("struct \(words[0]) ") || source.contains("extension \(words[0]) "))
                    && source.contains("func \(words[1])(")
            }
            #expect(isThere, "\(part)")
        }
        #expect(count > 200)
    }
}
