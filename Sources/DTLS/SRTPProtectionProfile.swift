// SPDX-License-Identifier: Apache-2.0

/// How SRTP is protected, as a handshake agrees on it (RFC 5764 §4.1.2, RFC 7714 §14.2). The raw value is the registered
/// number.
public enum SRTPProtectionProfile: UInt16, CaseIterable, Hashable, Sendable {
    /// AES-128-GCM with tags of 16 bytes.
    case aeadAES128GCM = 0x0007
    /// AES-256-GCM with tags of 16 bytes.
    case aeadAES256GCM = 0x0008
    /// AES-128 in counter mode with HMAC-SHA-1 tags of 10 bytes; every implementation has it (RFC 8827 §6.5).
    case aes128CMHMACSHA1_80 = 0x0001

    /// The length of a master key in bytes.
    public var masterKeyLength: Int { self == .aeadAES256GCM ? 32 : 16 }
    /// The length of a master salt in bytes.
    public var masterSaltLength: Int { self == .aes128CMHMACSHA1_80 ? 14 : 12 }
    /// The length of an authentication tag in bytes.
    public var tagLength: Int { self == .aes128CMHMACSHA1_80 ? 10 : 16 }

    /// OpenSSL's name, which is the RFC's but for one.
    var libraryName: String {
        switch self {
        case .aeadAES128GCM: "SRTP_AEAD_AES_128_GCM"
        case .aeadAES256GCM: "SRTP_AEAD_AES_256_GCM"
        case .aes128CMHMACSHA1_80: "SRTP_AES128_CM_SHA1_80"
        }
    }
}

extension SRTPProtectionProfile: CustomStringConvertible {
    /// The RFC's name.
    public var description: String {
        self == .aes128CMHMACSHA1_80 ? "SRTP_AES128_CM_HMAC_SHA1_80" : libraryName
    }
}
