// SPDX-License-Identifier: Apache-2.0

public import Hashing

/// Which side of a connection a node is.
public enum SessionRole: String, Hashable, Sendable {
    /// It made the offer and opened the channels.
    case offerer
    /// It answered.
    case answerer

    /// The other side's role.
    public var opposite: SessionRole { self == .offerer ? .answerer : .offerer }
}

/// The proof in a hello that its sender knows the link and stands at the end of this very DTLS session: whoever sits in
/// the middle has other certificates, and whoever has only the infoHash has no key.
public enum SessionBinding {
    /// The 32 bytes that a node of `role` sends.
    ///
    /// - Parameters:
    ///   - manifestDigest: the key, from the link.
    ///   - role: the sender's role.
    ///   - offererDigest: SHA-256 of the offerer's certificate, as the DTLS session has it.
    ///   - answererDigest: SHA-256 of the answerer's.
    public static func value(
        manifestDigest: BLAKE3.Digest, role: SessionRole, offererDigest: [UInt8], answererDigest: [UInt8]
    ) -> [UInt8] {
        var hash = BLAKE3(key: manifestDigest.bytes)
        hash.update(Array("dreamer/1".utf8))
        hash.update(Array(role.rawValue.utf8))
        hash.update(offererDigest)
        hash.update(answererDigest)
        return hash.finalize()
    }
}
