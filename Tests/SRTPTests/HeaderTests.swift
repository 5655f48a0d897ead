// SPDX-License-Identifier: Apache-2.0
#if SRTP
import SRTP
import Testing

@Suite struct HeaderTests {
    @Test("RTP and RTCP are told apart, and headers end after CSRCs and extension")
    func reads() {
        let rtp: [UInt8] = [0x80, 111, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 9]
        #expect(RTPHeader(rtp.span.bytes)?.kind == .rtp)
        #expect(RTPHeader(rtp.span.bytes)?.ssrc == 0x0102_0304)
        #expect(RTPHeader(rtp.span.bytes)?.byteCount == 12)
        let long: [UInt8] = [0x92, 239] + [UInt8](repeating: 0, count: 18) + [0xBE, 0xDE, 0, 1, 1, 2, 3, 4]
        #expect(RTPHeader(long.span.bytes)?.byteCount == 28)
        let rtcp: [UInt8] = [0x81, 200, 0, 6, 1, 2, 3, 4]
        #expect(RTPHeader(rtcp.span.bytes)?.kind == .rtcp)
        #expect(RTPHeader(rtcp.span.bytes)?.byteCount == 8)
        // RFC 5761 §4: payload types 64 to 95 with the marker are RTCP's, the others RTP's.
        for type in UInt8(0)...255 {
            let packet = [0x80, type] + [UInt8](repeating: 0, count: 10)
            #expect((RTPHeader(packet.span.bytes)?.kind == .rtcp) == (192...223).contains(type))
        }
    }

    @Test("what is cut short or of another version is no header")
    func refuses() {
        let zeros = [UInt8](repeating: 0, count: 14)
        let whole: [UInt8] = [0x91, 111] + zeros + [0xBE, 0xDE, 0, 2] + zeros.prefix(8)
        #expect(RTPHeader(whole.span.bytes)?.byteCount == 28)
        for count in 0..<28 { #expect(RTPHeader(Array(whole.prefix(count)).span.bytes) == nil) }
        for version in [0, 1, 3] as [UInt8] {
            var packet = whole
            packet[0] = packet[0] & 0x3F | version << 6
            #expect(RTPHeader(packet.span.bytes) == nil)
        }
        let rtcp: [UInt8] = [0x81, 200, 0, 6, 1, 2, 3]
        #expect(RTPHeader(rtcp.span.bytes) == nil)
    }
}
#endif
