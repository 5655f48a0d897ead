// SPDX-License-Identifier: Apache-2.0
import Hashing
import ICE
import Testing
import Wire

@Suite("STUN messages")
struct STUNMessageTests {
    static let password = Array("VOkJxbRl1RmTxUk/WvJxBt".utf8)

    @Test("the sample request of RFC 5769 §2.1 is read, proved and written back")
    func sampleRequest() throws {
        let bytes = try fixture("stun/rfc5769/request.bin")
        let message = try decode(bytes)
        #expect(message.messageClass == .request)
        #expect(message.method == .binding)
        #expect(message.transactionID.description == "b7e7a701bc34d686fa87dfae")
        #expect(message.username == "evtj:h6vY")
        #expect(message.priority == 0x6E00_01FF)
        #expect(message.iceControlled == 0x932F_F9B1_5126_3B36)
        #expect(message.first(.software) == Array("STUN test client".utf8))
        #expect(message.fingerprint == .valid)
        #expect(message.integrityAlgorithm == .sha1)
        #expect(isAuthentic(message, bytes, Self.password))
        #expect(!isAuthentic(message, bytes, Array("VOkJxbRl1RmTxUk/WvJxBu".utf8)))
        #expect(!isAuthentic(message, bytes, Self.password, .sha256))
        // The RFC pads with spaces; with our zeros everything up to the padding is the same.
        let encoded = message.encoded(integrity: STUNIntegrity(key: Self.password))
        #expect(Array(encoded.prefix(73)) == Array(bytes.prefix(73)))
        #expect(encoded.count == bytes.count)
        #expect(try decode(encoded) == message)
    }

    @Test(
        "the sample responses of RFC 5769 §2.2 and §2.3 show the mapped address",
        arguments: [
            ("response-ipv4", "192.0.2.1:32853"),
            ("response-ipv6", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
        ])
    func sampleResponses(file: String, address: String) throws {
        let bytes = try fixture("stun/rfc5769/\(file).bin")
        let message = try decode(bytes)
        #expect(message.messageClass == .success)
        #expect(message.xorMappedAddress == SocketAddress(address))
        #expect(message.first(.software) == Array("test vector".utf8))
        #expect(message.fingerprint == .valid)
        #expect(isAuthentic(message, bytes, Self.password))
        var copy = STUNMessage(.success, transactionID: message.transactionID)
        copy.append(.software, "test vector")
        copy.append(xorAddress: try #require(SocketAddress(address)))
        #expect(copy == message)
    }

    @Test("the long-term request of RFC 5769 §2.4 is proved with the MD5 of user, realm and password")
    func longTerm() throws {
        let bytes = try fixture("stun/rfc5769/request-long-term.bin")
        let message = try decode(bytes)
        #expect(message.username == "マトリックス")
        #expect(message.fingerprint == .absent)
        let key = MD5.hash(Array("マトリックス:example.org:TheMatrIX".utf8))
        #expect(isAuthentic(message, bytes, key))
        // Its padding is zeros, as ours: the same bytes come out.
        #expect(message.encoded(integrity: STUNIntegrity(key: key), fingerprint: false) == bytes)
    }

    @Test("messages with MESSAGE-INTEGRITY-SHA256 are proved and written to the byte")
    func sha256() throws {
        let key = Array("0123456789abcdefABCDEF".utf8)
        let alone = try fixture("stun/sha256/request-sha256.bin")
        let message = try decode(alone)
        #expect(message.integrityAlgorithm == .sha256)
        #expect(isAuthentic(message, alone, key, .sha256))
        #expect(!isAuthentic(message, alone, key, .sha1))
        #expect(message.encoded(integrity: STUNIntegrity(key: key, algorithm: .sha256)) == alone)
        let both = try fixture("stun/sha256/request-both.bin")
        let second = try decode(both)
        #expect(second.integrityAlgorithm == .sha256)
        #expect(isAuthentic(second, both, key, .sha1))
        #expect(isAuthentic(second, both, key, .sha256))
        #expect(second == message)
    }

    @Test("one flipped bit anywhere breaks the fingerprint, the proof or the form")
    func flippedBits() throws {
        let bytes = try fixture("stun/rfc5769/request.bin")
        for bit in 0..<bytes.count * 8 {
            var damaged = bytes
            damaged[bit / 8] ^= 1 << (bit % 8)
            guard let message = try? decode(damaged) else { continue }
            #expect(message.fingerprint != .valid || !isAuthentic(message, damaged, Self.password), "bit \(bit)")
        }
    }

    @Test("what is no STUN is named as such")
    func malformed() throws {
        let good = STUNMessage(.request, transactionID: id).encoded(fingerprint: false)
        #expect(error(Array(good.prefix(19))) == .tooShort)
        #expect(error([]) == .tooShort)
        for top: UInt8 in [0x40, 0x80, 0xC0] { #expect(error([top | good[0]] + good.dropFirst()) == .notSTUN) }
        #expect(error(patched(good, 4, 0x22)) == .wrongCookie)
        #expect(error(patched(good, 3, 4)) == .wrongLength(claimed: 4, actual: 0))
        #expect(error(good + [0, 0, 0, 0]) == .wrongLength(claimed: 0, actual: 4))
        #expect(error(patched(good + [0, 0], 3, 2)) == .wrongLength(claimed: 2, actual: 2))
        #expect(error(patched(good + [0x80, 0x22, 0, 1], 3, 4)) == .attributeOverrun(offset: 20))
        #expect(error(patched(good + [0x80, 0x22, 0xFF, 0xFF], 3, 4)) == .attributeOverrun(offset: 20))
        #expect(error(patched(good + [0, 8, 0, 0], 3, 4)) == .wrongAttributeLength(.messageIntegrity, 0))
        let printed = STUNMessage(.request, transactionID: id).encoded()
        #expect(
            error(patched(printed + [0x80, 0x22, 0, 0], 3, 12)) == .attributeAfterFingerprint(offset: 28))
    }

    @Test("padding of received attributes may hold anything, and what is sent is padded with zeros")
    func padding() throws {
        var message = STUNMessage(.request, transactionID: id)
        message.append(.username, "a:b")
        let bytes = message.encoded(fingerprint: false)
        #expect(bytes.count == 28)
        #expect(bytes[27] == 0)
        #expect(try decode(patched(bytes, 27, 0xFF)).username == "a:b")
    }

    @Test("attributes behind MESSAGE-INTEGRITY do not count, but FINGERPRINT does")
    func behindIntegrity() throws {
        var message = STUNMessage(.request, transactionID: id)
        message.append(.username, "a:b")
        var bytes = message.encoded(integrity: STUNIntegrity(key: [1]), fingerprint: false)
        bytes += [0x7F, 0xF0, 0, 0]
        bytes[3] += 4
        let read = try decode(bytes)
        #expect(read.attributes == message.attributes)
        #expect(read.unknownRequired(known: [.username]).isEmpty)
        #expect(isAuthentic(read, bytes, [1]))
    }

    @Test("of several attributes of a kind the first counts, and unknown required ones are listed once")
    func duplicates() throws {
        var message = STUNMessage(.request, transactionID: id)
        message.append(.priority, UInt32(1))
        message.append(.priority, UInt32(2))
        message.append(STUNAttribute.Kind(rawValue: 0x7FF1))
        message.append(STUNAttribute.Kind(rawValue: 0xFFF0))
        message.append(STUNAttribute.Kind(rawValue: 0x7FF0))
        message.append(STUNAttribute.Kind(rawValue: 0x7FF1))
        let read = try decode(message.encoded())
        #expect(read.priority == 1)
        #expect(read.unknownRequired(known: [.priority]).map(\.rawValue) == [0x7FF1, 0x7FF0])
    }

    @Test("class and method interleave as RFC 8489 §5 draws them")
    func types() throws {
        let expected: [(STUNMessage.Class, UInt16)] = [
            (.request, 0x0001), (.indication, 0x0011), (.success, 0x0101), (.error, 0x0111),
        ]
        for (messageClass, type) in expected {
            let bytes = STUNMessage(messageClass, transactionID: id).encoded()
            #expect(UInt16(bytes[0]) << 8 | UInt16(bytes[1]) == type)
        }
        for method in stride(from: UInt16(0), through: 0xFFF, by: 37) {
            for messageClass in [STUNMessage.Class.request, .indication, .success, .error] {
                let message = STUNMessage(messageClass, STUNMessage.Method(rawValue: method), transactionID: id)
                #expect(try decode(message.encoded()) == message)
            }
        }
    }

    @Test("error codes keep their number and words", arguments: [300, 400, 401, 420, 438, 487, 500, 699])
    func errorCodes(code: Int) throws {
        var message = STUNMessage(.error, transactionID: id)
        message.append(STUNErrorCode(code, "why"))
        message.append(unknown: [STUNAttribute.Kind(rawValue: 0x7FF0)])
        let read = try decode(message.encoded())
        #expect(read.errorCode == STUNErrorCode(code, "why"))
        #expect(read.first(.unknownAttributes) == [0x7F, 0xF0])
    }

    @Test("the router's peeks agree with the full reading")
    func peeks() throws {
        let bytes = try fixture("stun/rfc5769/request.bin")
        #expect(bytes.withSpan { STUNMessage.isSTUN($0) })
        #expect(bytes.withSpan { STUNMessage.username(in: $0) } == "evtj:h6vY")
        #expect(bytes.withSpan { STUNMessage.recipientUfrag(in: $0) } == "evtj")
        #expect(bytes.withSpan { STUNMessage.messageClass(in: $0) } == .request)
        #expect(
            bytes.withSpan { STUNMessage.transactionID(in: $0) }?.description == "b7e7a701bc34d686fa87dfae")
        for other in [[UInt8](), [22, 254, 253], [UInt8](repeating: 20, count: 40)] {
            #expect(!other.withSpan { STUNMessage.isSTUN($0) })
            #expect(other.withSpan { STUNMessage.recipientUfrag(in: $0) } == nil)
            #expect(other.withSpan { STUNMessage.transactionID(in: $0) } == nil)
        }
    }

    @Test("any bytes are read or refused, and what is read survives writing", arguments: 0..<40)
    func fuzz(seed: UInt64) throws {
        var entropy = Entropy(seed: seed)
        let samples = try ["request", "response-ipv4", "response-ipv6", "request-long-term"].map {
            try fixture("stun/rfc5769/\($0).bin")
        }
        for _ in 0..<250 {
            var bytes = samples[Int(entropy.next() % 4)]
            switch entropy.next() % 4 {
            case 0: bytes = entropy.bytes(Int(entropy.next() % 200))
            case 1: bytes = Array(bytes.prefix(Int(entropy.next() % UInt64(bytes.count))))
            default:
                for _ in 0...entropy.next() % 6 {
                    bytes[Int(entropy.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: entropy.next())
                }
            }
            if entropy.next() % 2 == 0, bytes.count >= 20 {
                bytes[0] &= 0x3F
                (bytes[2], bytes[3]) = (UInt8((bytes.count - 20) >> 8), UInt8((bytes.count - 20) & 0xFF))
                bytes.replaceSubrange(4..<8, with: [0x21, 0x12, 0xA4, 0x42])
            }
            bytes.withSpan { span in
                _ = STUNMessage.username(in: span)
                _ = STUNMessage.recipientUfrag(in: span)
                _ = STUNMessage.transactionID(in: span)
            }
            guard let message = try? decode(bytes) else { continue }
            _ = (message.username, message.xorMappedAddress, message.mappedAddress, message.errorCode)
            _ = (message.priority, message.iceControlled, message.iceControlling, message.hasUseCandidate)
            _ = isAuthentic(message, bytes, Self.password)
            _ = isAuthentic(message, bytes, Self.password, .sha256)
            #expect(try decode(message.encoded()) == message, "seed \(seed)")
        }
    }

    private let id = STUNTransactionID(high: 1, low: 2)

    private func patched(_ bytes: [UInt8], _ index: Int, _ value: UInt8) -> [UInt8] {
        var copy = bytes
        copy[index] = value
        return copy
    }

    private func error(_ bytes: [UInt8]) -> STUNError? {
        do throws(STUNError) {
            _ = try decode(bytes)
            return nil
        } catch {
            return error
        }
    }
}
