// SPDX-License-Identifier: Apache-2.0

import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// A range of a file on its way through as many answers as it takes. Used by one task at a time.
final class Transfer {
    /// What the caller's own code threw; it is no failure of the server.
    struct ConsumerFailure: Error {
        let error: any Error
    }

    /// The next byte wanted.
    private(set) var position: Int64
    private let url: String
    private let end: Int64
    private let fileSize: Int64?
    private let consume: HTTPOrigin.Consumer

    init(url: String, range: Range<Int64>, fileSize: Int64?, consume: @escaping HTTPOrigin.Consumer) {
        self.url = url
        position = range.lowerBound
        end = range.upperBound
        self.fileSize = fileSize
        self.consume = consume
    }

    /// Hands on what is wanted of an answer; returns when that or the answer ends.
    func take(_ response: HTTPClientResponse) async throws {
        try HTTPOrigin.check(response, url: url)
        var offset = try start(of: response)
        for try await var part in response.body {
            let unwanted = min(Int64(part.readableBytes), max(position - offset, 0))
            part.moveReaderIndex(forwardBy: Int(unwanted))
            offset += unwanted
            let wanted = Int(min(Int64(part.readableBytes), end - position))
            guard wanted > 0, let bytes = part.readBytes(length: wanted) else { continue }
            do { try await consume(bytes, position) } catch { throw ConsumerFailure(error: error) }
            position += Int64(wanted)
            offset += Int64(wanted)
            // The rest of the body is not wanted: leaving it unread closes the connection.
            if position == end { return }
        }
    }

    /// Where in the file the body begins.
    private func start(of response: HTTPClientResponse) throws -> Int64 {
        func invalid(_ detail: String) -> OriginError {
            OriginError(.invalidResponse, url: url, status: Int(response.status.code), detail: detail)
        }
        if response.status == .partialContent {
            let text = response.headers.first(name: "content-range")
            guard let header = text.flatMap(ContentRange.init), let range = header.range else {
                throw invalid("a part of the file that does not say which: \(text ?? "no Content-Range")")
            }
            try checkSize(header.total)
            guard range.contains(position) else {
                throw invalid("bytes \(range.lowerBound)-\(range.upperBound - 1) instead of \(position)-\(end - 1)")
            }
            return range.lowerBound
        }
        // 200: the server ignores ranges and sends the file from its start.
        try checkSize(response.headers.first(name: "content-length").flatMap { Int64(digits: Substring($0)) })
        return 0
    }

    private func checkSize(_ size: Int64?) throws {
        guard let size else { return }
        guard size >= end, size == fileSize ?? size else {
            throw OriginError(.wrongSize, url: url, detail: "\(size) bytes instead of \(fileSize ?? end)")
        }
    }
}
