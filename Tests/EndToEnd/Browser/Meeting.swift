// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import SDP
import Synchronization
import Testing
import WebRTC
import Wire

/// The browsers that tests share, as starting one takes seconds. They run in a network of their own where that can be
/// made, else they and we use the address of this host.
actor Browsers {
    static let shared = Browsers()
    private var running: [Kind: Task<Browser, any Error>] = [:]
    private let namespace = NetworkNamespace.isPossible ? try? NetworkNamespace() : nil

    private struct Kind: Hashable {
        let kind: Browser.Kind
        let hidesAddresses: Bool
    }

    func browser(_ kind: Browser.Kind, hidesAddresses: Bool = false) async throws -> Browser {
        let key = Kind(kind: kind, hidesAddresses: hidesAddresses)
        let task =
            running[key]
            ?? Task {
                try await Browser(kind, hidesAddresses: hidesAddresses, in: namespace)
            }
        running[key] = task
        return try await task.value
    }
}

/// Which side makes the offer.
enum Offerer: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case we, page

    var testDescription: String { rawValue }
}

/// A connection between this process and a page, and the signalling between them.
final class Meeting: Sendable {
    private static let count = Mutex(0)

    let browser: Browser
    /// What the page calls the connection.
    let name: JSON
    let endpoint: RTCEndpoint
    let connection: PeerConnection
    private let inbox = Mutex(Inbox())

    private struct Inbox {
        var channels: [DataChannel] = []
        var candidates: [ICECandidate?] = []
        var pairs: [ICECandidatePair] = []
        var states: [PeerConnection.State] = []
        var decisions: [String] = []
    }

    init(_ browser: Browser, configuration: PeerConnection.Configuration = .init()) async throws {
        self.browser = browser
        name = .string("connection \(Self.count.withLock { $0 += 1; return $0 })")
        // Browsers leave loopback addresses out.
        endpoint = try NetworkNamespace.inside(browser.namespace) { try RTCEndpoint() }
        var configuration = configuration
        // Decisions are told to observers alone.
        configuration.observer = { _ in }
        connection = PeerConnection(endpoint: endpoint, configuration: configuration)
        connection.setHandler { [weak self] event in
            self?.inbox.withLock { inbox in
                switch event {
                case .channel(let channel): inbox.channels.append(channel)
                case .localCandidate(let candidate): inbox.candidates.append(candidate)
                case .gatheringComplete: inbox.candidates.append(nil)
                case .selectedPair(let pair): inbox.pairs.append(pair)
                case .stateChanged(let state): inbox.states.append(state)
                case .restartNeeded: break
                case .decision(let decision): inbox.decisions.append("\(decision.time) \(decision.action)")
                }
            }
        }
        try await browser.perform("create", name, [:])
    }

    // MARK: - Signalling

    /// Exchanges descriptions, and candidates after them where it trickles.
    func signal(_ offerer: Offerer, trickling: Bool = false) async throws {
        // Candidates of an earlier exchange are in its descriptions, or were passed on.
        inbox.withLock { $0.candidates = [] }
        while browser.takeEvent(where: { $0["event"] == "candidate" && $0["connection"] == name }) != nil {}
        switch offerer {
        case .we:
            let offer = try await connection.createOffer(trickling: trickling)
            let answer = try await browser.perform("answer", name, offer.json, .bool(trickling))
            try connection.accept(answer: SessionDescription(json: answer))
        case .page:
            let offer = try await browser.perform("offer", name, .bool(trickling))
            let answer = try await connection.accept(offer: SessionDescription(json: offer), trickling: trickling)
            try await browser.perform("accept", name, answer.json)
        }
        if trickling {
            try await passOurCandidates()
            try await passTheirCandidates()
        }
    }

    private func passOurCandidates() async throws {
        var isComplete = false
        while !isComplete {
            let candidate: ICECandidate?? = try await eventually("candidate of ours") {
                inbox.withLock { $0.candidates.isEmpty ? nil : .some($0.candidates.removeFirst()) }
            }
            guard let candidate, let candidate else {
                isComplete = true
                continue
            }
            let line = TrickleCandidate(
                candidate: candidate.description, sdpMid: "0", sdpMLineIndex: 0,
                usernameFragment: candidate.value(ofExtension: "ufrag"))
            try await browser.perform("candidate", name, line.json)
        }
        try await browser.perform("candidate", name, .null)
    }

    private func passTheirCandidates() async throws {
        while true {
            let event = try await browser.event(["event": "candidate", "connection": name])
            guard let json = event["candidate"], !json.isNull else { break }
            let candidate = try #require(TrickleCandidate(json: json))
            // The empty candidate that ends a generation; the page's null follows.
            guard !candidate.isEndOfCandidates else { continue }
            // One of a kind that is not known is ignored (RFC 8839 §5.1).
            guard let parsed = ICECandidate(sdp: candidate.candidate) else { continue }
            connection.addRemoteCandidate(parsed)
        }
        connection.addRemoteCandidate(nil)
    }

    // MARK: - What happened

    /// The pairs that carried data, in order.
    var pairs: [ICECandidatePair] { inbox.withLock { $0.pairs } }
    /// The states that were told.
    var states: [PeerConnection.State] { inbox.withLock { $0.states } }

    /// The next channel of a label that the page opened.
    func channel(_ label: String) async throws -> DataChannel {
        try await eventually("channel \(label)") {
            inbox.withLock { inbox in
                inbox.channels.firstIndex { $0.label == label }.map { inbox.channels.remove(at: $0) }
            }
        }
    }

    /// Asks until there is an answer.
    func eventually<Value>(
        _ what: String, within limit: Duration = .seconds(20), _ ask: () async throws -> Value?
    ) async throws -> Value {
        let deadline = ContinuousClock.now + limit
        while true {
            if let value = try await ask() { return value }
            guard ContinuousClock.now < deadline else {
                let decisions = inbox.withLock { $0.decisions.suffix(60).joined(separator: "\n") }
                throw Browser.Failure(description: "no \(what) in \(limit); ICE decided:\n\(decisions)")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    // MARK: - Messages

    /// Byte i is i mod 251.
    static func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 % 251) } }

    /// Has messages of all kinds echoed: text, empty ones, and the largest that the other takes.
    func exchange(_ channel: DataChannel) async throws {
        var messages = channel.messages.makeAsyncIterator()
        let large = Self.pattern(262_144)
        let sent: [DataChannel.Message] = [.text("grüße 🌍"), .text(""), .binary([]), .binary([0]), .binary(large)]
        var echoes: [DataChannel.Message] = []
        for message in sent {
            switch message {
            case .text(let text): try await channel.send(text)
            case .binary(let bytes): try await channel.send(bytes)
            }
        }
        for _ in sent { if let message = try await messages.next() { echoes.append(message) } }
        if channel.options.isOrdered {
            #expect(echoes == sent)
        } else {
            #expect(Set(echoes) == Set(sent))
        }
    }

    /// Sends on a channel that may lose messages until one comes back.
    func exchangeUnreliably(_ channel: DataChannel) async throws {
        try await withThrowingTaskGroup(of: DataChannel.Message?.self) { group in
            group.addTask {
                var messages = channel.messages.makeAsyncIterator()
                return try await messages.next()
            }
            group.addTask {
                while !Task.isCancelled {
                    try await channel.send("perhaps")
                    try? await Task.sleep(for: .milliseconds(100))
                }
                return nil
            }
            let first = try await group.next()
            #expect(first == .text("perhaps"))
            group.cancelAll()
        }
    }

    /// Ends the connection from our side; the page must see its channels close.
    func close() async throws {
        connection.close()
        try await browser.perform("close", name)
        endpoint.close()
    }
}

/// Counts across tasks.
final class Counter: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .relaxed) }
    func increment() { count.add(1, ordering: .relaxed) }
}
