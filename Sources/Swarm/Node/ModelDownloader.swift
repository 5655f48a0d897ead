// SPDX-License-Identifier: Apache-2.0

import Hashing
public import RDRR
import Synchronization

/// Gives the bytes of a shard or file, by the protocol's index; `nil` where it does not have it.
public typealias ShardLoader = @Sendable (_ index: Int) async throws -> [UInt8]?

/// Puts a model into a folder, shard by shard, from a loader of the caller's choice and from HTTP.
///
///     let downloader = ModelDownloader(folder: "model", origin: origin)
///     downloader.setCustomShardLoader { try await source.shard($0) }
///     try await downloader.downloadModel(manifest)
public final class ModelDownloader: Sendable {
    private struct Custom {
        var loader: ShardLoader?
        var verify = true
    }

    private let folder: String
    private let origin: (any FallbackOrigin)?
    private let custom = Mutex(Custom())

    /// A downloader into a folder, which is made where it does not exist.
    public init(folder: String, origin: (any FallbackOrigin)? = nil) {
        self.folder = folder
        self.origin = origin
    }

    /// Asks `loader` before HTTP from now on; `nil` takes it away. With `verify` what it gives is hashed, and bytes with
    /// another hash than the manifest's are an error. Without, the loader vouches for them.
    public func setCustomShardLoader(verify: Bool = true, _ loader: ShardLoader?) {
        custom.withLock { $0 = Custom(loader: loader, verify: verify) }
    }

    /// Fetches what the folder does not hold yet. No file gets its final name before it is whole and verified.
    public func downloadModel(
        _ manifest: RDRRManifest, onProgress: @Sendable (_ index: Int) -> Void = { _ in }
    ) async throws {
        let catalog = SwarmCatalog(manifest)
        let store = ModelStore(folder: folder, manifestDigest: manifest.digest, catalog: catalog)
        try store.prepare(manifest: manifest.bytes)
        try store.makeEmptyFiles()
        for index in catalog.entries.indices {
            if case .whole = store.examine(index) {
                onProgress(index)
                continue
            }
            try await fetch(index, catalog.entries[index], into: store)
            onProgress(index)
        }
    }

    private func fetch(_ index: Int, _ entry: SwarmCatalog.Entry, into store: ModelStore) async throws {
        let custom = custom.withLock { $0 }
        if let loader = custom.loader, let bytes = try await loader(index) {
            guard bytes.count == entry.size, !custom.verify || isRight(bytes, entry) else {
                throw mismatch(entry, "the shard loader")
            }
            try put(bytes, index, entry, store)
            return
        }
        guard let origin else {
            throw RDRRError(
                .missing, at: entry.name, "no shard loader has it, and there is no HTTP origin",
                advice: "give the address of a web server that has the model's folder")
        }
        let collected = Mutex<[UInt8]>([])
        try await origin.fetch(entry.name, range: 0..<Int64(entry.size), fileSize: Int64(entry.size)) { bytes, _ in
            collected.withLock { $0 += bytes }
        }
        let bytes = collected.withLock { $0 }
        guard bytes.count == entry.size, isRight(bytes, entry) else { throw mismatch(entry, "HTTP") }
        try put(bytes, index, entry, store)
    }

    private func put(_ bytes: [UInt8], _ index: Int, _ entry: SwarmCatalog.Entry, _ store: ModelStore) throws {
        for group in 0..<entry.groupCount {
            try bytes.withUnsafeBytes {
                try store.write(
                    UnsafeRawBufferPointer(rebasing: $0[entry.range(ofGroup: group)]), entry: index, group: group)
            }
        }
        _ = try store.finish(index, checksHash: false)
    }

    private func isRight(_ bytes: [UInt8], _ entry: SwarmCatalog.Entry) -> Bool {
        switch entry.algorithm {
        case .blake3: BLAKE3.hash(bytes).bytes == entry.hash
        case .sha256: SHA256.hash(bytes) == entry.hash
        }
    }

    private func mismatch(_ entry: SwarmCatalog.Entry, _ source: String) -> RDRRError {
        RDRRError(
            .hashMismatch, at: entry.name, "what came from \(source) has another hash than the manifest says",
            advice: "get it from somewhere else")
    }
}
