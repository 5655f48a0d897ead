// SPDX-License-Identifier: Apache-2.0

/// A model folder on a web server: manifest, shards by range, and proofs.
public final class HTTPOrigin: Sendable {
    /// Knobs of the connections.
    public struct Configuration: Sendable {
        /// How many requests run at a time; more wait.
        public var connections = 4
        /// Tries without a single new byte between them before a request fails.
        public var attempts = 5
        /// The defaults.
        public init() {}
    }

    /// The folder's address, without a slash at its end.
    public let base: String

    /// An origin at `base`: an http or https address, with or without a slash at its end.
    public init(base: String, configuration: Configuration = Configuration()) throws(OriginError) {
        self.base = base
    }

    /// Takes the bytes of a piece of a file, `offset` counted from the start of the file.
    public typealias Consumer = @Sendable (_ bytes: [UInt8], _ offset: Int64) async throws -> Void

    /// The bytes of manifest.json.
    public func manifest(limit: Int = 64 << 20) async throws -> [UInt8] { [] }

    /// The group values of a file; `nil` where the server has none.
    public func proof(of name: String, byteCount: Int) async throws -> [UInt8]? { nil }

    /// Streams a range of a file.
    public func fetch(
        _ name: String, range: Range<Int64>, fileSize: Int64? = nil, consume: Consumer
    ) async throws {}

    /// Closes all connections.
    public func shutdown() async {}
}
