// SPDX-License-Identifier: Apache-2.0

import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import Synchronization

/// A model folder on any static web server: its manifest, ranges of its files, and the proofs of groups.
///
/// Answers that end early are resumed at the byte where they ended, failures that may pass are tried again with
/// growing pauses, and a server that ignores ranges is read from the start with the unwanted bytes skipped. Nothing is
/// verified here.
public final class HTTPOrigin: Sendable {
    /// Knobs of the connections.
    public struct Configuration: Sendable {
        /// How many requests run at a time; more wait for their turn.
        public var connections = 4
        /// Failures in a row, without a single new byte between them, after which a request fails.
        public var attempts = 5
        /// The pause after the first failure; it doubles with each, up to 15 s, and half of it is chance.
        public var retryDelay: Duration = .milliseconds(500)
        /// How long a connection may take to open.
        public var connectTimeout: Duration = .seconds(10)
        /// How long an answer may take to begin, and to go on after its last byte.
        public var idleTimeout: Duration = .seconds(30)
        /// The defaults.
        public init() {}
    }

    /// Takes bytes of a file as they come, in order; `offset` counts from the start of the file. While it works
    /// nothing more is read than fits the sockets; what it throws ends the transfer and is thrown on.
    public typealias Consumer = @Sendable (_ bytes: [UInt8], _ offset: Int64) async throws -> Void

    /// The folder's address as it was given.
    public let base: String

    /// Whether the server was seen to answer a range with the whole file. Then one request for a whole file costs less
    /// than several for its parts.
    public var ignoresRanges: Bool { sawRangesIgnored.load(ordering: .relaxed) }

    private let address: OriginAddress
    private let configuration: Configuration
    private let client: HTTPClient
    private let slots: RequestSlots
    private let sawRangesIgnored = Atomic(false)
    private let isShutDown = Atomic(false)

    /// Whether text is an address that an origin can have.
    public static func isAddress(_ text: String) -> Bool { OriginAddress(text) != nil }

    /// An origin at `base`: an http or https address, with or without a slash at its end, of the folder or of its
    /// manifest.json. Nothing is fetched yet.
    public init(base: String, configuration: Configuration = Configuration()) throws(OriginError) {
        guard let address = OriginAddress(base) else { throw OriginError(.invalidURL, url: base) }
        self.base = base
        self.address = address
        self.configuration = configuration
        slots = RequestSlots(configuration.connections)
        var settings = HTTPClient.Configuration()
        settings.redirectConfiguration = .follow(max: 8, allowCycles: false)
        settings.timeout = HTTPClient.Configuration.Timeout(
            connect: TimeAmount(configuration.connectTimeout), read: TimeAmount(configuration.idleTimeout))
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = max(configuration.connections, 1)
        // Tries are counted here, and a refused connection is known at once.
        settings.connectionPool.retryConnectionEstablishment = false
        // Several requests are to be several connections; HTTP/2 would put them on one.
        settings.httpVersion = .http1Only
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
    }

    deinit {
        // The client insists on it.
        guard !isShutDown.load(ordering: .relaxed) else { return }
        Task { [client] in try? await client.shutdown() }
    }

    /// Closes all connections; what still runs fails.
    public func shutdown() async {
        guard !isShutDown.exchange(true, ordering: .relaxed) else { return }
        try? await client.shutdown()
    }

    // MARK: - Whole files

    /// The bytes of manifest.json, at most `limit` of them.
    ///
    /// - Throws: ``OriginError``, or `CancellationError`.
    public func manifest(limit: Int = 64 << 20) async throws -> [UInt8] {
        try await collect(address.file("manifest.json"), limit: limit)
    }

    /// The group values of a file, `proofs/<name>.b3`, which are `byteCount` bytes; `nil` where the server has none.
    ///
    /// - Throws: ``OriginError``, or `CancellationError`.
    public func proof(of name: String, byteCount: Int) async throws -> [UInt8]? {
        let url = address.file("proofs", name + ".b3")
        do {
            let bytes = try await collect(url, limit: byteCount)
            guard bytes.count == byteCount else {
                throw OriginError(.wrongSize, url: url, detail: "\(bytes.count) bytes instead of \(byteCount)")
            }
            return bytes
        } catch let error as OriginError where error.code == .notFound {
            return nil
        }
    }

    private func collect(_ url: String, limit: Int) async throws -> [UInt8] {
        try await retrying(url: url, progress: { 0 }) {
            let response = try await self.request(url, range: nil)
            try Self.check(response, url: url)
            let length = response.headers.first(name: "content-length").flatMap { Int64(digits: Substring($0)) }
            if let length, length > limit {
                throw OriginError(.tooLarge, url: url, detail: "\(length) bytes, \(limit) allowed")
            }
            var bytes: [UInt8] = []
            for try await part in response.body {
                guard bytes.count + part.readableBytes <= limit else {
                    throw OriginError(.tooLarge, url: url, detail: "more than \(limit) bytes")
                }
                bytes.append(contentsOf: part.readableBytesView)
            }
            return bytes
        }
    }

    // MARK: - Ranges

    /// Streams a range of a file to `consume`, whose bytes it hands on once each and in order.
    ///
    /// - Parameters:
    ///   - name: The file's plain name.
    ///   - range: Bytes from the start of the file.
    ///   - fileSize: How long the file has to be. Where the server says another size, nothing is taken.
    ///   - consume: Takes the bytes.
    /// - Throws: ``OriginError``, `CancellationError`, or what `consume` throws.
    public func fetch(
        _ name: String, range: Range<Int64>, fileSize: Int64? = nil, consume: @escaping Consumer
    ) async throws {
        let url = address.file(name)
        guard range.lowerBound >= 0, range.upperBound <= fileSize ?? .max else {
            throw OriginError(.rangeNotSatisfiable, url: url, detail: "bytes \(range) of \(fileSize ?? 0)")
        }
        guard !range.isEmpty else { return }
        let transfer = Transfer(url: url, range: range, fileSize: fileSize, consume: consume)
        do {
            try await retrying(url: url, progress: { transfer.position }) {
                while transfer.position < range.upperBound {
                    let before = transfer.position
                    let response = try await self.request(url, range: before..<range.upperBound)
                    if response.status == .ok, before > 0 || range.upperBound != fileSize {
                        self.sawRangesIgnored.store(true, ordering: .relaxed)
                    }
                    try await transfer.take(response)
                    // A server may give less than was asked for (RFC 9110 §15.3.7), but not nothing.
                    guard transfer.position > before else { throw OriginError(.truncated, url: url) }
                }
            }
        } catch let failure as Transfer.ConsumerFailure {
            throw failure.error
        }
    }

    private func request(_ url: String, range: Range<Int64>?) async throws -> HTTPClientResponse {
        var request = HTTPClientRequest(url: url)
        request.headers.add(name: "User-Agent", value: "dreamer")
        // A range of an encoded body would be one of other bytes.
        request.headers.add(name: "Accept-Encoding", value: "identity")
        if let range { request.headers.add(name: "Range", value: "bytes=\(range.lowerBound)-\(range.upperBound - 1)") }
        do {
            return try await client.execute(request, timeout: TimeAmount(configuration.idleTimeout))
        } catch let error {
            if error is HTTPClientError || error is CancellationError { throw error }
            // What is left are errors of sockets and of TLS, before there was any answer.
            try Task.checkCancellation()
            throw OriginFailure(error: OriginError(.unreachable, url: url, detail: "\(error)"), mayPass: true)
        }
    }

    // MARK: - Trying again

    /// Runs `body` until it succeeds, fails for good, or fails too often without making progress.
    private func retrying<Result>(
        url: String, progress: () -> Int64, _ body: () async throws -> Result
    ) async throws -> Result {
        var failures = 0
        var reached = progress()
        while true {
            let failure: OriginFailure
            do {
                return try await slots.withSlot(body)
            } catch {
                failure = try OriginFailure(error, url: url)
            }
            if progress() > reached {
                reached = progress()
                failures = 0
            }
            failures += 1
            guard failure.mayPass, failures < configuration.attempts else { throw failure.error }
            try await Task.sleep(for: failure.pause ?? pause(after: failures))
        }
    }

    private func pause(after failures: Int) -> Duration {
        let longest = min(configuration.retryDelay * (1 << min(failures - 1, 10)), .seconds(15))
        return longest * Double.random(in: 0.5...1)
    }

    /// Refuses answers that hold no file.
    static func check(_ response: HTTPClientResponse, url: String) throws {
        let code = Int(response.status.code)
        switch code {
        case 200, 206: break
        case 404, 410: throw OriginError(.notFound, url: url, status: code)
        case 416: throw OriginError(.rangeNotSatisfiable, url: url, status: code)
        // RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4: these may pass, as server errors may.
        case 408, 425, 429, 500...599:
            let seconds = response.headers.first(name: "retry-after").flatMap { Int64(digits: Substring($0)) }
            throw OriginFailure(
                error: OriginError(.serverError, url: url, status: code), mayPass: code != 501 && code != 505,
                pause: seconds.map { .seconds(min($0, 60)) })
        default: throw OriginError(.refused, url: url, status: code)
        }
        if let encoding = response.headers.first(name: "content-encoding"), encoding.lowercased() != "identity" {
            throw OriginError(.invalidResponse, url: url, status: code, detail: "the body is encoded as \(encoding)")
        }
    }
}

extension TimeAmount {
    fileprivate init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .seconds(seconds) + .nanoseconds(attoseconds / 1_000_000_000)
    }
}
