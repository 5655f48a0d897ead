// SPDX-License-Identifier: Apache-2.0

/// A web server with the model's folder, for what no peer has.
public protocol FallbackOrigin: Sendable {
    /// The bytes of `manifest.json`, at most `limit` of them.
    func manifest(limit: Int) async throws -> [UInt8]
    /// The group values of a file, `proofs/<name>.b3`; `nil` where the server has none.
    func proof(of name: String, byteCount: Int) async throws -> [UInt8]?
    /// Streams a range of a file to `consume`, each byte once and in order. What `consume` throws ends the transfer.
    func fetch(
        _ name: String, range: Range<Int64>, fileSize: Int64?,
        consume: @escaping @Sendable (_ bytes: [UInt8], _ offset: Int64) async throws -> Void
    ) async throws
    /// Whether an error means that the server does not have the file, so that asking again is of no use.
    func isPermanent(_ error: any Error) -> Bool
}

extension FallbackOrigin {
    /// No error is taken for permanent.
    public func isPermanent(_ error: any Error) -> Bool { false }
}
