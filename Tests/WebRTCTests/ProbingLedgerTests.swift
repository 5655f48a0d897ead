// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import WebRTC

@Suite("Who may probe for ports")
struct ProbingLedgerTests {
    private final class Connection {}

    /// A ledger that can be asked in the middle of an expression.
    private final class Book {
        private var ledger = ProbingLedger()

        func begin(_ run: ProbingLedger.Run, toward host: IPAddress, packets: Int, now: Timestamp) -> Bool {
            ledger.begin(run, toward: host, packets: packets, now: now)
        }
        func end(_ run: ProbingLedger.Run) { ledger.end(run) }
        func end(_ connection: ObjectIdentifier) { ledger.end(connection) }
    }

    private let connections = (0..<100).map { _ in Connection() }
    private let victim = IPAddress.v4(0xCB00_7109)

    private func run(_ index: Int, _ ufrag: String = "a") -> ProbingLedger.Run {
        .init(connection: ObjectIdentifier(connections[index]), ufrag: ufrag)
    }

    @Test("two runs at a time, each until it is ended")
    func runs() {
        let ledger = Book()
        #expect(ledger.begin(run(0), toward: victim, packets: 10, now: .zero))
        #expect(ledger.begin(run(1), toward: victim, packets: 10, now: .zero))
        #expect(!ledger.begin(run(2), toward: victim, packets: 10, now: .zero))
        ledger.end(run(0, "other"))
        #expect(!ledger.begin(run(2), toward: victim, packets: 10, now: .zero))
        ledger.end(run(0))
        #expect(ledger.begin(run(2), toward: victim, packets: 10, now: .zero))
        ledger.end(ObjectIdentifier(connections[1]))
        #expect(ledger.begin(run(3), toward: victim, packets: 10, now: .zero))
    }

    @Test("however many peers name a host, it gets its share of packets and no more for ten minutes")
    func share() {
        let ledger = Book()
        var packets = 0
        for index in 0..<100 {
            if ledger.begin(run(index), toward: victim, packets: 1500, now: .zero) { packets += 1500 }
            ledger.end(run(index))
        }
        #expect(packets == 3000)
        let later = Timestamp.zero + .seconds(601)
        #expect(ledger.begin(run(0), toward: victim, packets: 1500, now: later))
        #expect(!ledger.begin(run(1), toward: victim, packets: Int.max, now: later))
        #expect(!ledger.begin(run(1), toward: victim, packets: -1, now: later))
    }

    @Test("hosts are few, too")
    func hosts() {
        let ledger = Book()
        let begun = (0..<100).count { index in
            defer { ledger.end(run(index)) }
            return ledger.begin(run(index), toward: .v4(0xCB00_7100 + UInt32(index)), packets: 1, now: .zero)
        }
        #expect(begun == ProbingLedger.maximumHosts)
    }
}
