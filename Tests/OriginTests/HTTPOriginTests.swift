// SPDX-License-Identifier: Apache-2.0

import NIOHTTP1
import Synchronization
import Testing

@testable import Origin

/// 300,000 bytes that are nowhere the same as 1,000 bytes further on.
private let file: [UInt8] = (0..<300_000).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) }

/// Settings that try again at once and lose patience soon.
private var hasty: HTTPOrigin.Configuration {
    var configuration = HTTPOrigin.Configuration()
    configuration.retryDelay = .milliseconds(1)
    configuration.idleTimeout = .seconds(2)
    return configuration
}

/// Fetches a range and checks that its bytes came in order.
private func fetch(
    _ origin: HTTPOrigin, _ range: Range<Int64>, fileSize: Int64? = 300_000, name: String = "shard.bin"
) async throws -> [UInt8] {
    let bytes = Mutex<[UInt8]>([])
    try await origin.fetch(name, range: range, fileSize: fileSize) { part, offset in
        bytes.withLock { bytes in
            #expect(offset == range.lowerBound + Int64(bytes.count))
            bytes += part
        }
    }
    return bytes.withLock { $0 }
}

/// The code of the error that `body` throws.
private func code(_ body: () async throws -> Void) async -> OriginError.Code? {
    do {
        try await body()
        return nil
    } catch {
        return (error as? OriginError)?.code
    }
}

/// How many transfers run, and ran at most.
private final class Running: Sendable {
    private let counts = Mutex((now: 0, most: 0))
    var most: Int { counts.withLock { $0.most } }
    func begin() { counts.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) } }
    func end() { counts.withLock { $0.now -= 1 } }
}

@Suite("HTTP origin", .timeLimit(.minutes(1)))
struct HTTPOriginTests {
    private static let ranges: [Range<Int64>] = [0..<300_000, 0..<1, 299_999..<300_000, 131_072..<262_144, 7..<7]

    @Test("a range arrives whole and in order", arguments: ranges)
    func range(_ range: Range<Int64>) async throws {
        try await TestHTTPServer.with(answer: { request, _ in .file(file, request) }) { server in
            let origin = try HTTPOrigin(base: server.base + "/models/", configuration: hasty)
            let expected = Array(file[Int(range.lowerBound)..<Int(range.upperBound)])
            #expect(try await fetch(origin, range) == expected)
            #expect(server.requests.allSatisfy { $0.uri == "/models/shard.bin" })
            #expect(!origin.ignoresRanges)
        }
    }

    @Test("a server that ignores ranges is read from the start, and that is remembered", arguments: ranges.dropLast())
    func ignoredRange(_ range: Range<Int64>) async throws {
        try await TestHTTPServer.with(answer: { _, _ in .init(body: file) }) { server in
            let origin = try HTTPOrigin(base: server.base, configuration: hasty)
            let expected = Array(file[Int(range.lowerBound)..<Int(range.upperBound)])
            #expect(try await fetch(origin, range) == expected)
            #expect(origin.ignoresRanges == (range.count < file.count))
        }
    }

    @Test("an answer that is cut short is resumed at the next byte", arguments: [true, false])
    func resume(honoursRanges: Bool) async throws {
        let answer: TestHTTPServer.Answer = { request, number in
            var reply = honoursRanges ? TestHTTPServer.Reply.file(file, request) : .init(body: file)
            if number < 4 { reply.dropAfter = honoursRanges ? 50_000 : 50_000 * (number + 1) }
            return reply
        }
        try await TestHTTPServer.with(answer: answer) { server in
            let origin = try HTTPOrigin(base: server.base, configuration: hasty)
            #expect(try await fetch(origin, 10..<300_000) == Array(file[10...]))
            let first = server.requests.compactMap(TestHTTPServer.Reply.requestedRange).map(\.lowerBound)
            #expect(first == first.sorted() && first.first == 10 && first.count == 5)
            #expect(try #require(first.last) > 10)
        }
    }

    @Test("a server may give a range in smaller parts, or begin it earlier")
    func clampedRanges() async throws {
        let answer: TestHTTPServer.Answer = { request, _ in
            guard let range = TestHTTPServer.Reply.requestedRange(request) else { return .init(status: .badRequest) }
            let given = max(range.lowerBound - 50, 0)..<min(range.lowerBound + 50_000, range.upperBound)
            return .init(
                status: .partialContent,
                headers: ["Content-Range": "bytes \(given.lowerBound)-\(given.upperBound - 1)/*"], body: Array(file[given]))
        }
        try await TestHTTPServer.with(answer: answer) { server in
            let origin = try HTTPOrigin(base: server.base, configuration: hasty)
            #expect(try await fetch(origin, 100..<200_000) == Array(file[100..<200_000]))
        }
    }

    @Test("a body of unknown length that ends early is asked for again, and in the end refused")
    func chunkedTruncation() async throws {
        let answer: TestHTTPServer.Answer = { _, _ in .init(body: Array(file[..<1000]), isChunked: true) }
        try await TestHTTPServer.with(answer: answer) { server in
            let origin = try HTTPOrigin(base: server.base, configuration: hasty)
            #expect(await code { _ = try await fetch(origin, 0..<2000, fileSize: nil) } == .truncated)
            #expect(server.requests.count == 6, "one with progress, then five without")
        }
    }

    /// An answer that is given to each request, what comes of it, and how many requests that takes.
    private static let refusals: [(TestHTTPServer.Reply, OriginError.Code, Int)] = [
        (.init(status: .notFound), .notFound, 1),
        (.init(status: .gone), .notFound, 1),
        (.init(status: .forbidden), .refused, 1),
        (.init(status: .unauthorized), .refused, 1),
        (.init(status: .internalServerError), .serverError, 5),
        (.init(status: .serviceUnavailable, headers: ["Retry-After": "0"]), .serverError, 5),
        (.init(status: .tooManyRequests), .serverError, 5),
        (.init(status: .notImplemented), .serverError, 1),
        (.init(status: .rangeNotSatisfiable), .rangeNotSatisfiable, 1),
        (.init(status: .noContent), .refused, 1),
        (.init(status: .found, headers: ["Location": "/elsewhere"]), .refused, 2),
        (.init(status: .partialContent, body: [1, 2, 3]), .invalidResponse, 1),
        (.init(status: .partialContent, headers: ["Content-Range": "bytes 5-7/300000"], body: [1, 2, 3]), .invalidResponse, 1),
        (.init(status: .partialContent, headers: ["Content-Range": "bytes 0-2/3"], body: [1, 2, 3]), .wrongSize, 1),
        (.init(status: .partialContent, headers: ["Content-Range": "bytes 0-2/-9"], body: [1, 2, 3]), .invalidResponse, 1),
        (.init(body: [1, 2, 3]), .wrongSize, 1),
        (.init(headers: ["Content-Encoding": "gzip"], body: file), .invalidResponse, 1),
        (.init(body: file, dropAfter: 0), .truncated, 5),
        (.init(isSilent: true), .timedOut, 5),
    ]

    @Test("a bad answer is an error that says which", arguments: refusals.indices)
    func refusal(_ index: Int) async throws {
        let (reply, expected, requests) = Self.refusals[index]
        try await TestHTTPServer.with(answer: { _, _ in reply }) { server in
            var configuration = hasty
            if reply.isSilent { configuration.idleTimeout = .milliseconds(50) }
            let origin = try HTTPOrigin(base: server.base, configuration: configuration)
            #expect(await code { _ = try await fetch(origin, 0..<1000) } == expected)
            // A request that was given up early may not have reached the server.
            #expect(server.requests.count == requests || reply.isSilent)
        }
    }

    @Test("failures that pass do no harm")
    func passingFailures() async throws {
        let answer: TestHTTPServer.Answer = { request, number in
            switch number {
            case 0: .init(status: .badGateway)
            case 1: .init(isSilent: true)
            case 2: .init(body: file, dropAfter: 0)
            case 3: .init(status: .temporaryRedirect, headers: ["Location": "/mirror/shard.bin"])
            default: .file(file, request)
            }
        }
        try await TestHTTPServer.with(answer: answer) { server in
            var configuration = hasty
            configuration.idleTimeout = .milliseconds(600)
            let origin = try HTTPOrigin(base: server.base, configuration: configuration)
            #expect(try await fetch(origin, 5..<100_000) == Array(file[5..<100_000]))
            #expect(server.requests.last?.uri == "/mirror/shard.bin")
            #expect(server.requests.last?.headers.first(name: "range") == "bytes=5-99999")
        }
    }

    @Test("a server that is not there is unreachable")
    func unreachable() async throws {
        let base = try await TestHTTPServer.with(answer: { _, _ in .init() }) { $0.base }
        let origin = try HTTPOrigin(base: base, configuration: hasty)
        #expect(await code { _ = try await fetch(origin, 0..<10) } == .unreachable)
    }

    @Test("the manifest is bounded, however its length is told", arguments: [true, false])
    func manifest(isChunked: Bool) async throws {
        try await TestHTTPServer.with(answer: { _, _ in .init(body: file, isChunked: isChunked) }) { server in
            let origin = try HTTPOrigin(base: server.base + "/m/manifest.json", configuration: hasty)
            #expect(try await origin.manifest() == file)
            #expect(server.requests.first?.uri == "/m/manifest.json")
            #expect(await code { _ = try await origin.manifest(limit: 299_999) } == .tooLarge)
        }
    }

    @Test("a manifest that is cut short is fetched again")
    func truncatedManifest() async throws {
        let answer: TestHTTPServer.Answer = { _, number in .init(body: file, dropAfter: number < 3 ? 100 : nil) }
        try await TestHTTPServer.with(answer: answer) { server in
            let origin = try HTTPOrigin(base: server.base, configuration: hasty)
            #expect(try await origin.manifest() == file)
        }
    }

    @Test("a proof is there, or missing, or of the wrong size")
    func proofs() async throws {
        let answer: TestHTTPServer.Answer = { request, _ in
            request.uri == "/proofs/a%20b.b3" ? .init(body: Array(file[..<64])) : .init(status: .notFound)
        }
        try await TestHTTPServer.with(answer: answer) { server in
            let origin = try HTTPOrigin(base: server.base, configuration: hasty)
            #expect(try await origin.proof(of: "a b", byteCount: 64) == Array(file[..<64]))
            #expect(try await origin.proof(of: "other", byteCount: 64) == nil)
            #expect(await code { _ = try await origin.proof(of: "a b", byteCount: 96) } == .wrongSize)
            #expect(await code { _ = try await origin.proof(of: "a b", byteCount: 32) } == .tooLarge)
        }
    }

    @Test("what the caller throws ends the transfer and comes back as it is")
    func consumerFailure() async throws {
        struct DiskFull: Error {}
        try await TestHTTPServer.with(answer: { request, _ in .file(file, request) }) { server in
            let origin = try HTTPOrigin(base: server.base, configuration: hasty)
            await #expect(throws: DiskFull.self) {
                try await origin.fetch("shard.bin", range: 0..<300_000) { _, _ in throw DiskFull() }
            }
            #expect(server.requests.count == 1)
        }
    }

    @Test("a cancelled transfer ends, whether it runs or waits for its turn")
    func cancellation() async throws {
        try await TestHTTPServer.with(answer: { _, _ in .init(isSilent: true) }) { server in
            var configuration = HTTPOrigin.Configuration()
            configuration.connections = 1
            let origin = try HTTPOrigin(base: server.base, configuration: configuration)
            let tasks = (0..<3).map { _ in Task { try await fetch(origin, 0..<10) } }
            while server.requests.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
            for task in tasks.reversed() { task.cancel() }
            for task in tasks { await #expect(throws: CancellationError.self) { try await task.value } }
            #expect(server.requests.count == 1)
            await origin.shutdown()
        }
    }

    @Test("several requests run at once, and no more than allowed")
    func connections() async throws {
        try await TestHTTPServer.with(answer: { request, _ in .file(file, request) }) { server in
            var configuration = hasty
            configuration.connections = 2
            let origin = try HTTPOrigin(base: server.base, configuration: configuration)
            let running = Running()
            let tasks = (0..<6).map { part in
                Task {
                    let range = Int64(part * 50_000)..<Int64((part + 1) * 50_000)
                    try await origin.fetch("shard.bin", range: range, fileSize: 300_000) { bytes, offset in
                        if offset == range.lowerBound { running.begin() }
                        #expect(bytes[...] == file[Int(offset)..<Int(offset) + bytes.count])
                        if offset + Int64(bytes.count) == range.upperBound { running.end() }
                    }
                }
            }
            for task in tasks { try await task.value }
            #expect((1...2).contains(running.most))
        }
    }
}
