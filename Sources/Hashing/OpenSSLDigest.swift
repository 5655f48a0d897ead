// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL

/// A running hash of OpenSSL's EVP interface; the one owner of its context.
///
/// Every call here fails only for want of memory or when the library lacks the algorithm, after which nothing could be
/// verified any more: those stop the program.
final class OpenSSLDigest {
    private let context: OpaquePointer
    private let byteCount: Int

    private init(context: OpaquePointer, byteCount: Int) {
        self.context = context
        self.byteCount = byteCount
    }

    /// A fresh SHA-256 (`EVP_sha256`).
    static func sha256() -> OpenSSLDigest { begin(EVP_sha256()) }

    /// A fresh MD5 (`EVP_md5`).
    static func md5() -> OpenSSLDigest { begin(EVP_md5()) }

    private static func begin(_ algorithm: OpaquePointer?) -> OpenSSLDigest {
        guard let algorithm, let context = EVP_MD_CTX_new() else { preconditionFailure("OpenSSL: no memory") }
        guard EVP_DigestInit_ex(context, algorithm, nil) == 1 else {
            preconditionFailure("OpenSSL: the hash algorithm is disabled on this host")
        }
        return OpenSSLDigest(context: context, byteCount: Int(EVP_MD_get_size(algorithm)))
    }

    deinit {
        EVP_MD_CTX_free(context)
    }

    func copy() -> OpenSSLDigest {
        guard let copy = EVP_MD_CTX_new(), EVP_MD_CTX_copy_ex(copy, context) == 1 else {
            preconditionFailure("OpenSSL: no memory")
        }
        return OpenSSLDigest(context: copy, byteCount: byteCount)
    }

    func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        guard EVP_DigestUpdate(context, base, bytes.count) == 1 else {
            preconditionFailure("OpenSSL: EVP_DigestUpdate")
        }
    }

    /// The hash; this object takes nothing after it.
    func finish() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, initialized in
            guard EVP_DigestFinal_ex(context, buffer.baseAddress, nil) == 1 else {
                preconditionFailure("OpenSSL: EVP_DigestFinal_ex")
            }
            initialized = byteCount
        }
    }
}
