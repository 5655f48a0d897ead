// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// A NAT discovery whose server answers with any bytes. Each step is one answer, its transaction that of the request,
/// else nothing would be looked at; the kind chooses which request it answers and where it comes from.
enum NATDiscoveryFuzz {
    private static let server = SocketAddress(ip: .v4(0xC000_020A), port: 3478)
    private static let other = SocketAddress(ip: .v4(0xCB00_7114), port: 3479)

    static func run(_ bytes: [UInt8]) {
        var configuration = NATDiscovery.Configuration()
        configuration.lifetimeBudget = .seconds(60)
        var discovery = NATDiscovery(
            server: server, configuration: configuration, entropy: Entropy(seed: 1), now: .zero)
        var steps = Steps(bytes)
        var now = Timestamp.zero
        var requests: [Datagram] = []
        var turns = 0
        while turns < 300 {
            turns += 1
            var deadline: Timestamp?
            var count = 0
            draining: while true {
                count += 1
                precondition(count < 1000, "a discovery that says too much")
                switch discovery.nextOutput() {
                case .transmit(let datagram): requests = requests.suffix(7) + [datagram]
                case .event(.openSocket(let socket)):
                    let port = 40_000 + UInt16(truncatingIfNeeded: socket % 20_000)
                    discovery.socketOpened(socket, at: SocketAddress(ip: .v4(0x0A00_0002), port: port), now: now)
                case .event(.finished(let report)):
                    precondition(report.exchanges.count < 4096, "a report without end")
                    _ = report.description
                    _ = report.json.serialized()
                case .event: break
                case .wait(let until):
                    deadline = until
                    break draining
                }
            }
            guard let deadline else { return }
            if let (kind, body) = steps.next(), !requests.isEmpty {
                answer(requests[Int(kind & 7) % requests.count], kind, body, &discovery, now)
            } else {
                now = max(now, deadline)
                discovery.handleTimeout(now: now)
            }
        }
    }

    private static func answer(
        _ request: Datagram, _ kind: UInt8, _ body: [UInt8], _ discovery: inout NATDiscovery, _ now: Timestamp
    ) {
        var answer = body
        if answer.count >= STUNMessage.headerLength {
            answer.replaceSubrange(4..<20, with: request.payload[4..<20])
        }
        let source = kind & 8 == 0 ? request.destination : other
        discovery.receive(answer.span.bytes, from: source, to: request.source, now: now)
    }

    static var seeds: [[UInt8]] {
        var message = STUNMessage(.success, transactionID: STUNTransactionID(high: 1, low: 2))
        message.attributes = [
            STUNAttribute(.mappedAddress, [0, 1, 0x9C, 0x40, 198, 51, 100, 1]),
            STUNAttribute(.responseOrigin, [0, 1, 0x0D, 0x96, 192, 0, 2, 10]),
            STUNAttribute(.otherAddress, [0, 1, 0x0D, 0x97, 203, 0, 113, 20]),
        ]
        let answer = message.encoded(fingerprint: false)
        var refusal = STUNMessage(.error, transactionID: STUNTransactionID(high: 1, low: 2))
        refusal.append(.unknownAttribute)
        let refused = refusal.encoded(fingerprint: false)
        return [
            Steps.write(Array(repeating: (7, answer), count: 40)),
            Steps.write([(7, answer), (15, answer), (6, answer)]),
            Steps.write([(7, answer), (7, refused)]),
        ]
    }
}
