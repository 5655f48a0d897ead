// SPDX-License-Identifier: Apache-2.0
public import Wire

// The order of the tests is what makes them true: whatever was sent once may change what a NAT does later.
//
//   connectivity  one socket asks the known address, nothing else yet
//   filtering     a fresh socket that sends to the known address alone; answers from the other host
//   leak          only then that socket sends to the other host, to see what the filtered answers did
//   filtering     another fresh socket, answers from the other port
//   mapping       a fresh socket to all addresses; then, with all doors open, the server must show that it can answer
//                 from elsewhere: else silence before was no filter
//   allocation    many fresh sockets, one after the other
//   responsePort  a second socket as the way to have packets sent to a first that itself stays silent
//   hairpin       two fresh sockets
//   lifetime      fresh sockets that stay silent for a while

/// Finds out what a NAT does, with the help of a server as RFC 5780 has it: a core without sockets and clock.
///
/// The driver binds a fresh socket for each ``Event/openSocket(_:)``, to a definite address and a port that was not
/// used lately (port 0, RFC 5780 §4.1), and answers with ``socketOpened(_:at:now:)``. No two tests share a socket, so
/// that none spoils another.
public struct NATDiscovery: ~Copyable, Sendable, SansIO {
    /// What the driver is told.
    public enum Event: Hashable, Sendable {
        /// Bind a fresh socket and call ``NATDiscovery/socketOpened(_:at:now:)``, or
        /// ``NATDiscovery/socketFailed(_:now:)``.
        case openSocket(Int)
        /// This socket is not needed any more.
        case closeSocket(Int)
        /// Another stage begins.
        case stage(Stage)
        /// That is all; told once, and last.
        case finished(NATReport)
    }

    private var probing: NATProbing
    private var report: NATReport
    private var tests: [any NATTest]
    private var current = 0
    private var stage: Stage?
    private var deadline: Timestamp
    private var isOver = false

    /// A discovery that starts at once.
    public init(
        server: SocketAddress, configuration: Configuration = Configuration(), entropy: Entropy, now: Timestamp
    ) {
        probing = NATProbing(server: server, configuration: configuration, entropy: entropy, now: now)
        report = NATReport(server: server)
        deadline = now + configuration.timeLimit
        tests = [
            ConnectivityTest(), FilteringTest(changes: .address), LeakTest(), FilteringTest(changes: .port),
            MappingTest(), AllocationTest(), FurtherAllocationTest(), ResponsePortTest(), HairpinTest(),
        ]
        if configuration.lifetimeBudget != nil { tests.append(LifetimeTest()) }
        advance()
    }

    /// A socket that was asked for is bound. Another address than one definite one makes some facts unknown.
    public mutating func socketOpened(_ socket: Int, at local: SocketAddress, now: Timestamp) {
        probing.setTime(now)
        probing.opened(socket, at: local)
        advance()
    }

    /// A socket that was asked for cannot be had.
    public mutating func socketFailed(_ socket: Int, now: Timestamp) {
        probing.setTime(now)
        probing.failed(socket)
        advance()
    }

    /// Takes what came to a socket; what answers no request is counted and dropped.
    public mutating func receive(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        guard !isOver else { return }
        probing.setTime(now)
        probing.take(bytes, from: source, to: destination)
        advance()
    }

    /// Tells that time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) {
        probing.setTime(now)
        advance()
    }

    /// The next thing to do. Ask until the answer is ``Output/wait(until:)``.
    public mutating func nextOutput() -> Output<Event> {
        if let output = probing.nextOutput() { return output }
        return .wait(until: isOver ? nil : min(probing.nextDeadline ?? deadline, deadline))
    }

    private mutating func advance() {
        guard !isOver else { return }
        probing.pump()
        while current < tests.count {
            guard probing.now < deadline else { return finish(.timeSpent) }
            var test = tests[current]
            begin(test.stage)
            probing.wakeUp = nil
            let outcome = test.advance(&probing, &report)
            tests[current] = test
            probing.pump()
            switch outcome {
            case .underWay: return
            case .done: probing.giveUp()
            case .hopeless(let reason): return finish(reason)
            }
            current += 1
        }
        finish(.notObservable)
    }

    private mutating func begin(_ next: Stage) {
        guard stage != next else { return }
        stage = next
        probing.report(.stage(next))
        // The search for lifetimes takes minutes, and keeps its own time; this much more is for its last requests.
        if next == .lifetime, let budget = probing.configuration.lifetimeBudget {
            deadline = probing.now + budget + .seconds(60)
        }
    }

    private mutating func finish(_ reason: NATUncertainty) {
        isOver = true
        probing.giveUp()
        report.conclude(probing.findings)
        report.settle(reason)
        report.take(probing)
        for socket in probing.sockets.indices { probing.close(socket) }
        probing.report(.finished(report))
    }
}

/// One test of a discovery: asked again after everything that happens, it looks at what came of its requests and makes
/// more.
protocol NATTest: Sendable {
    /// What a driver may show meanwhile.
    var stage: NATDiscovery.Stage { get }
    /// Goes on as far as it can.
    mutating func advance(_ probing: inout NATProbing, _ report: inout NATReport) -> NATTestOutcome
}

/// Whether a test goes on.
enum NATTestOutcome: Hashable, Sendable {
    case underWay
    case done
    /// No other test can succeed either.
    case hopeless(NATUncertainty)
}
