// SPDX-License-Identifier: Apache-2.0

// first request, bare ──401: realm, nonce──▶ every request with user, realm, nonce and proof ──438: nonce──▶ the same,
// again
//                                                                                            RFC 8489 §9.2

/// The client's side of long-term credentials toward one server: what the server told, and what requests need for it.
struct TURNAuthentication: Sendable {
    private let credentials: LongTermCredentials
    private var realm: [UInt8] = []
    private var nonce: [UInt8] = []
    /// PASSWORD-ALGORITHMS as the server wrote it; requests repeat it, so that who takes some out is noticed.
    private var offered: [UInt8]?
    private var algorithm = LongTermCredentials.PasswordAlgorithm.md5
    private var hidesUsername = false
    /// What proves requests, once the server has asked for a proof.
    private(set) var integrity: STUNIntegrity?

    /// RFC 8489 §14.9, §14.10: 509 bytes as of today, 763 in what older servers may write.
    private static let longest = 763

    init(_ credentials: LongTermCredentials) {
        self.credentials = credentials
    }

    /// Takes what a 401 or a 438 tells. Throws where the request must not be sent again (RFC 8489 §9.2.5);
    /// `wasAuthenticated` tells whether the refused one had our proof.
    mutating func challenge(_ response: STUNMessage, wasAuthenticated: Bool) throws(TURNFailure) {
        let isStale = response.errorCode?.code == STUNErrorCode.staleNonce.code
        guard !response.lacksToldAlgorithms else { throw .bidDown }
        guard let newNonce = response.first(.nonce), !newNonce.isEmpty, newNonce.count <= Self.longest,
            let newRealm = response.first(.realm) ?? (isStale && integrity != nil ? realm : nil),
            newRealm.count <= Self.longest
        else { throw .malformed }
        // A 401 to what we proved, in the same realm: the proof would be the same again.
        guard isStale || !wasAuthenticated || newRealm != realm else { throw .unauthorized }
        let list = response.first(.passwordAlgorithms) ?? (isStale ? offered : nil)
        // RFC 8489 §9.2.5: who was offered them once uses SHA-256 from then on.
        guard list != nil || offered == nil else { throw .bidDown }
        var chosen = LongTermCredentials.PasswordAlgorithm.md5
        if let list {
            guard let known = try Self.algorithms(in: list) else { throw .noCommonAlgorithm }
            chosen = known
        }
        let features = STUNSecurityFeatures(nonce: newNonce) ?? []
        hidesUsername = features.contains(.usernameAnonymity)
        (realm, nonce, offered, algorithm) = (newRealm, newNonce, list, chosen)
        let key = algorithm.key(
            username: credentials.username, realm: realmText, password: credentials.password)
        integrity = STUNIntegrity(key: key, algorithm: list == nil ? .sha1 : .sha256)
    }

    /// Adds what proves a request, but for the proof itself: ``integrity`` makes that.
    func complete(_ request: inout STUNMessage) {
        guard integrity != nil else { return }
        if hidesUsername {
            request.attributes.append(
                STUNAttribute(
                    .userhash, LongTermCredentials.userhash(username: credentials.username, realm: realmText)))
        } else {
            request.append(.username, credentials.username)
        }
        request.attributes.append(STUNAttribute(.realm, realm))
        request.attributes.append(STUNAttribute(.nonce, nonce))
        if let offered {
            request.attributes.append(STUNAttribute(.passwordAlgorithms, offered))
            // RFC 8489 §14.12: the number, and a length of no parameters.
            request.append(.passwordAlgorithm, UInt32(algorithm.rawValue) << 16)
        }
    }

    /// The realm as the key takes it: RFC 8489 §9.2.2 leaves quotes and trailing zeros out.
    private var realmText: String {
        var text = realm[...]
        while text.last == 0 { text.removeLast() }
        if text.count >= 2, text.first == UInt8(ascii: "\""), text.last == UInt8(ascii: "\"") {
            text = text.dropFirst().dropLast()
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The way to choose of those in PASSWORD-ALGORITHMS: SHA-256 where it is among them (RFC 8656 §6), else the first known;
    /// `nil` if none is.
    private static func algorithms(
        in list: [UInt8]
    ) throws(TURNFailure) -> LongTermCredentials.PasswordAlgorithm? {
        var known: [LongTermCredentials.PasswordAlgorithm] = []
        var offset = 0
        while offset < list.count {
            guard offset + 4 <= list.count else { throw .malformed }
            let number = UInt16(list[offset]) << 8 | UInt16(list[offset + 1])
            let parameters = Int(list[offset + 2]) << 8 | Int(list[offset + 3])
            // RFC 8489 §18.5.1: neither has parameters; ones that we do not know would make another key.
            if parameters == 0, let algorithm = LongTermCredentials.PasswordAlgorithm(rawValue: number) {
                known.append(algorithm)
            }
            offset += 4 + STUNMessage.padded(parameters)
        }
        return known.contains(.sha256) ? .sha256 : known.first
    }
}
