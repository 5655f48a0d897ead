// SPDX-License-Identifier: Apache-2.0
import DTLS
import ICE
import SDP
import Wire

#if SRTP
import SRTP

extension PeerCore {
    /// Whether an offered audio section is accepted.
    static func acceptsAudio(_ configuration: Configuration) -> Bool { configuration.echoesAudio }

    /// What became of RTP; `nil` where no audio section was accepted.
    var mediaCounters: MediaCounters? { media.peek { $0.counters } }

    /// Keys SRTP where an audio section was accepted and the handshake agreed on a profile.
    mutating func startMedia() {
        guard audioSSRC != nil, side == .answerer, let audio = try? localDescription.firstAudio,
            let source = audio.source,
            let profile = dtls.peek({ $0.srtpProfile }) ?? nil, let role = dtls.peek({ $0.role }),
            let material = dtls.peek({ $0.srtpKeyingMaterial }) ?? nil
        else { return }
        do {
            media = MediaEcho(
                session: try SRTPSession(profile: profile, role: role, keyingMaterial: material), ssrc: source.ssrc,
                sends: audio.direction == .sendrecv || audio.direction == .sendonly, entropy: entropy.split())
        } catch {
            // Without memory for it there is no media, and data goes on.
            media = nil
        }
    }

    /// Takes what RFC 7983 §7 gives to RTP. Its tag proves who sent it, so any candidate of the peer may be its source.
    mutating func receiveMedia(_ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress) {
        guard media != nil, ice.peek({ $0.mayReceiveData(from: source, to: destination) }) ?? false else {
            transport.packetsDropped &+= 1
            return
        }
        media?.receive(bytes)
    }

    /// Moves what is to be sent back to the end of `packets`.
    mutating func takeMedia(into packets: inout PacketBuffer) {
        media?.takeOutgoing(into: &packets)
    }
}
#else
extension PeerCore {
    static func acceptsAudio(_ configuration: Configuration) -> Bool { false }

    var mediaCounters: MediaCounters? { nil }

    mutating func startMedia() {}

    mutating func receiveMedia(_ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress) {
        transport.packetsDropped &+= 1
    }

    mutating func takeMedia(into packets: inout PacketBuffer) {}
}
#endif
