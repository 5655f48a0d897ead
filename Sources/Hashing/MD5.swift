// SPDX-License-Identifier: Apache-2.0

/// MD5 (RFC 1321), computed by OpenSSL. TURN's long-term credentials need it (RFC 8489 §9.2.2); nothing else may.
public enum MD5 {
    /// The hash of `bytes`, 16 bytes.
    public static func hash(_ bytes: [UInt8]) -> [UInt8] {
        bytes.withUnsafeBytes { bytes in
            let digest = OpenSSLDigest.md5()
            digest.update(bytes)
            return digest.finish()
        }
    }
}
