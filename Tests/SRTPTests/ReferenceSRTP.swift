// SPDX-License-Identifier: Apache-2.0
#if SRTP
import COpenSSL

/// SRTP written out from RFC 3711 and RFC 7714 over OpenSSL's ciphers, for comparison: no replay protection, roll-over
/// counter 0. Its own parts are checked against the RFCs' vectors.
struct ReferenceSRTP {
    let masterKey: [UInt8]
    let masterSalt: [UInt8]

    /// RFC 3711 §4.3: labels of the session keys, RTP first.
    enum Label: UInt8 { case cipher, authentication, salt, rtcpCipher, rtcpAuthentication, rtcpSalt }

    /// RFC 3711 §4.3.3 with index and rate 0, RFC 7714 §11: a salt of 12 bytes is filled up with zeros.
    func derive(_ label: Label, count: Int) -> [UInt8] {
        var counter = masterSalt + [UInt8](repeating: 0, count: 16 - masterSalt.count)
        counter[7] ^= label.rawValue
        return Self.counterMode(key: masterKey, counter: counter, [UInt8](repeating: 0, count: count))
    }

    /// The keys that one kind of packets is protected with.
    struct SessionKeys {
        var cipher: [UInt8]
        var authentication: [UInt8]
        var salt: [UInt8]
    }

    var rtpKeys: SessionKeys {
        SessionKeys(
            cipher: derive(.cipher, count: masterKey.count), authentication: derive(.authentication, count: 20),
            salt: derive(.salt, count: masterSalt.count))
    }

    var rtcpKeys: SessionKeys {
        SessionKeys(
            cipher: derive(.rtcpCipher, count: masterKey.count), authentication: derive(.rtcpAuthentication, count: 20),
            salt: derive(.rtcpSalt, count: masterSalt.count))
    }

    /// Protects an RTP packet whose header has `headerCount` bytes; with GCM if there is a salt of 12 bytes.
    static func protect(rtp packet: [UInt8], headerCount: Int, _ keys: SessionKeys) -> [UInt8] {
        let (header, payload) = (Array(packet[..<headerCount]), Array(packet[headerCount...]))
        let ssrc = Array(packet[8..<12])
        let index: [UInt8] = [0, 0, 0, 0] + packet[2..<4]
        guard keys.salt.count == 14 else {
            // RFC 7714 §8.1.
            let nonce = xor([0, 0] + ssrc + index, keys.salt)
            return header + gcm(key: keys.cipher, nonce: nonce, header, payload)
        }
        // RFC 3711 §4.1.1 and §4.2.
        let counter = xor([0, 0, 0, 0] + ssrc + index + [0, 0], keys.salt + [0, 0])
        let body = counterMode(key: keys.cipher, counter: counter, payload)
        return header + body + hmac(key: keys.authentication, header + body + [0, 0, 0, 0]).prefix(10)
    }

    /// Protects an RTCP packet as the one of this index.
    static func protect(rtcp packet: [UInt8], index: UInt32, _ keys: SessionKeys) -> [UInt8] {
        let (header, payload) = (Array(packet[..<8]), Array(packet[8...]))
        let ssrc = Array(packet[4..<8])
        let number = withUnsafeBytes(of: index.bigEndian) { [UInt8]($0) }
        let marked = [number[0] | 0x80] + number[1...]  // encrypted
        guard keys.salt.count == 14 else {
            // RFC 7714 §9.1 to §9.3.
            let nonce = xor([0, 0] + ssrc + [0, 0] + number, keys.salt)
            return header + gcm(key: keys.cipher, nonce: nonce, header + marked, payload) + marked
        }
        let counter = xor([0, 0, 0, 0] + ssrc + [0, 0] + number + [0, 0], keys.salt + [0, 0])
        let body = counterMode(key: keys.cipher, counter: counter, payload)
        return header + body + marked + hmac(key: keys.authentication, header + body + marked).prefix(10)
    }

    // MARK: Ciphers

    static func xor(_ a: [UInt8], _ b: [UInt8]) -> [UInt8] { zip(a, b).map { $0 ^ $1 } }

    static func counterMode(key: [UInt8], counter: [UInt8], _ input: [UInt8]) -> [UInt8] {
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        var output = [UInt8](repeating: 0, count: input.count + 16)
        var count: Int32 = 0
        EVP_EncryptInit_ex(context, key.count == 16 ? EVP_aes_128_ctr() : EVP_aes_256_ctr(), nil, key, counter)
        EVP_EncryptUpdate(context, &output, &count, input, Int32(input.count))
        return Array(output.prefix(Int(count)))
    }

    /// The ciphertext with its tag of 16 bytes.
    static func gcm(key: [UInt8], nonce: [UInt8], _ header: [UInt8], _ plaintext: [UInt8]) -> [UInt8] {
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        var output = [UInt8](repeating: 0, count: plaintext.count + 16)
        var (count, rest): (Int32, Int32) = (0, 0)
        EVP_EncryptInit_ex(context, key.count == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(), nil, key, nonce)
        EVP_EncryptUpdate(context, nil, &rest, header, Int32(header.count))
        EVP_EncryptUpdate(context, &output, &count, plaintext, Int32(plaintext.count))
        EVP_EncryptFinal_ex(context, nil, &rest)
        var tag = [UInt8](repeating: 0, count: 16)
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, &tag)
        return output.prefix(Int(count)) + tag
    }

    static func hmac(key: [UInt8], _ input: [UInt8]) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: 20)
        var count = 0
        _ = EVP_Q_mac(
            nil, "HMAC", nil, "SHA1", nil, key, key.count, input, input.count, &output, output.count, &count)
        return output
    }
}
#endif
