// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite("Bytes, time and randomness")
struct BytesTests {
    @Test("a reader gives what a writer wrote, and stops at the end")
    func readerAndWriter() throws {
        var writer = ByteWriter()
        writer.write(UInt8(1))
        writer.write(bigEndian: UInt16(0x0203))
        writer.write(bigEndian: UInt32(0x0405_0607))
        writer.write(littleEndian: UInt64(0x0F0E_0D0C_0B0A_0908))
        writer.overwrite(bigEndian: 0xAABB, at: 1)
        let bytes = writer.bytes
        #expect(bytes == [1, 0xAA, 0xBB, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
        var reader = ByteReader(bytes.span.bytes)
        #expect(try reader.readUInt8() == 1)
        #expect(try reader.readUInt16() == 0xAABB)
        #expect(try reader.readUInt32LE() == 0x0706_0504)
        #expect(try reader.readSpan(2).byte(at: 1) == 9)
        #expect(try reader.readBytes(6) == [10, 11, 12, 13, 14, 15])
        #expect(reader.remaining == 0)
        var fault: WireError?
        do { _ = try reader.readUInt16() } catch { fault = error }
        #expect(fault?.offset == 15 && fault?.wanted == 2)
    }

    @Test("a buffer that gave its memory back fills anew", arguments: [64, PacketBlocks.blockSize])
    func releasesPackets(capacity: Int) {
        var buffer = PacketBuffer(capacity: capacity)
        buffer.release()
        for round in 1...3 {
            // More than a block, so that it grows.
            for number in 0..<90 { buffer.append([UInt8](repeating: UInt8(number), count: 1000).span.bytes) }
            #expect(buffer.count == 90 && buffer.byteCount == 90_000)
            for number in 0..<90 where buffer[number].byte(at: 999) != UInt8(number) {
                Issue.record("round \(round): packet \(number) is another")
            }
            buffer.release()
            #expect(buffer.isEmpty && buffer.byteCount == 0)
            buffer.withUnsafeBytes { #expect($0.isEmpty) }
        }
    }

    @Test("a packet buffer keeps packets apart while it grows and after it was emptied")
    func packetBuffer() {
        var buffer = PacketBuffer(capacity: 64)
        for round in 0..<2 {
            for size in 1..<100 {
                buffer.append([UInt8](repeating: UInt8(size + round), count: size).span.bytes)
            }
            buffer.append(maximumLength: 10) { _ in 0 }
            let (count, byteCount) = (buffer.count, buffer.byteCount)
            #expect(count == 99)
            #expect(byteCount == 99 * 100 / 2)
            for size in 1..<100 {
                let (length, last) = (buffer[size - 1].byteCount, buffer[size - 1].byte(at: size - 1))
                #expect(length == size)
                #expect(last == UInt8(size + round))
            }
            buffer.removeAll()
            let isEmpty = buffer.isEmpty
            #expect(isEmpty)
        }
    }

    @Test("entropy is the ChaCha20 key stream")
    func chaCha20() {
        // RFC 8439 appendix A.1, test vector 1: the key, the nonce and the counter are zero.
        var entropy = Entropy(seed: 0)
        let expected = bytes(
            hex: """
                76 b8 e0 ad a0 f1 3d 90 40 5d 6a e5 53 86 bd 28 bd d2 19 b8 a0 8d ed 1a a8 36 ef cc 8b 77 0d c7
                da 41 59 7c 51 57 48 8d 77 24 e0 3f b8 d8 4a 37 6a 43 b8 f4 15 18 a1 1c c3 87 b6 69 b2 ee 65 86
                9f 07 e7 be 55 51 38 7a 98 ba 97 7c 73 2d 08 0d cb 0f 29 a0 48 e3 65 69 12 c6 53 3e 32 ee 7a ed
                29 b7 21 76 9c e6 4e 43 d5 71 33 b0 74 d8 39 d5 31 ed 1f 28 51 0a fb 45 ac e1 0a 1f 4b 79 4d 6f
                """)
        #expect(entropy.bytes(128) == expected)
    }

    @Test("time neither wraps nor loses nanoseconds")
    func time() {
        let start = Timestamp(nanoseconds: 5)
        #expect(start + .milliseconds(3) == Timestamp(nanoseconds: 3_000_005))
        #expect(start + .milliseconds(3) - start == .milliseconds(3))
        #expect(Timestamp.distantFuture + .seconds(1) == .distantFuture)
        #expect(start + .seconds(Int64.max / 2) == .distantFuture)
        #expect(Duration.milliseconds(-1500).nanoseconds == -1_500_000_000)
        #expect(Timestamp(nanoseconds: 1_002_003_000).description == "1.002003s")
    }
}
