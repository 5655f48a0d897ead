// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// A message is read, written and read again; an agent with a peer gets it as it came and, where it can be read, proved
/// with the agent's password, as by a peer with the right to speak.
enum STUNFuzz {
    private static let own = SocketAddress(ip: .v4(0x7F00_0001), port: 1000)
    private static let peer = SocketAddress(ip: .v4(0x7F00_0001), port: 2000)
    private static let remote = ICECredentials(ufrag: "abcd", password: "0123456789abcdef0123456789abcdef")

    private static func agent() -> ICEAgent {
        var settings = ICEAgent.Configuration()
        settings.allowsLoopback = true
        var agent = ICEAgent(configuration: settings, entropy: Entropy(seed: 1))
        agent.addLocalAddress(own, now: .zero)
        agent.gather(now: .zero)
        if let remote { try? agent.setRemote(credentials: remote, lite: false, now: .zero) }
        return agent
    }

    static func run(_ bytes: [UInt8]) {
        let span = bytes.span.bytes
        _ = STUNMessage.username(in: span)
        _ = STUNMessage.recipientUfrag(in: span)
        _ = STUNMessage.transactionID(in: span)
        var agent = agent()
        agent.receive(span, from: peer, to: own, now: .zero)
        if let message = try? STUNMessage(decoding: span) {
            let again = try? STUNMessage(decoding: message.encoded().span.bytes)
            precondition(again == message, "what was read is written differently")
            let key = [UInt8](agent.localCredentials.password.utf8)
            let proved = message.encoded(integrity: STUNIntegrity(key: key))
            agent.receive(proved.span.bytes, from: peer, to: own, now: .zero)
        }
        var now = Timestamp.zero
        for _ in 0..<20 {
            var count = 0
            draining: while true {
                switch agent.nextOutput() {
                case .wait(let deadline):
                    now = max(now, deadline ?? now)
                    break draining
                default: count += 1
                }
            }
            precondition(count < 100, "an agent that says too much")
            agent.handleTimeout(now: now)
        }
    }

    static var seeds: [[UInt8]] {
        let credentials = agent().localCredentials
        let id = STUNTransactionID(high: 1, low: 2)
        var request = STUNMessage(.request, transactionID: id)
        request.attributes = [
            STUNAttribute(.username, [UInt8]("\(credentials.ufrag):abcd".utf8)),
            STUNAttribute(.priority, bigEndian(UInt32(0x6E7F_1EFF))),
            STUNAttribute(.iceControlling, bigEndian(UInt64(5))), STUNAttribute(.useCandidate, []),
        ]
        let response = STUNMessage(.success, transactionID: id)
        return [
            request.encoded(), request.encoded(integrity: STUNIntegrity(key: [UInt8](credentials.password.utf8))),
            response.encoded(),
        ]
    }
}
