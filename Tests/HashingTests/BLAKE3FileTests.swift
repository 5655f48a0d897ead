// SPDX-License-Identifier: Apache-2.0
import Foundation
import Hashing
import Testing

@Suite("BLAKE3 of files")
struct BLAKE3FileTests {
    @Test(
        "a file of any length hashes like its bytes, on one core and several",
        arguments: [0, 1, 1024, 1_048_575, 1_048_576, 1_048_577, 2_500_000])
    func lengths(count: Int) throws {
        let bytes = BLAKE3Vectors.input(count)
        let file = FileManager.default.temporaryDirectory.appending(path: "dreamer-hash-\(UUID().uuidString)")
        try Data(bytes).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        for threads in [1, 2, 3] {
            #expect(try BLAKE3.hash(file: file.path, threads: threads) == BLAKE3.hash(bytes))
        }
    }

    @Test("what is no regular file is read to its end")
    func device() throws {
        #expect(try BLAKE3.hash(file: "/dev/null") == BLAKE3.hash([]))
    }

    @Test("a file that is not there is named in the error")
    func missing() {
        let error = #expect(throws: BLAKE3.FileError.self) { try BLAKE3.hash(file: "/nonexistent/file") }
        #expect(error?.description == "/nonexistent/file: open: No such file or directory")
        #expect(throws: BLAKE3.FileError.self) { try BLAKE3.hash(file: "/") }
    }
}
