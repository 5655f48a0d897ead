// SPDX-License-Identifier: Apache-2.0
import ICE
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
        let task = running[key] ?? Task {
            try await Browser(kind, hidesAddresses: hidesAddresses, in: namespace)
        }
        running[key] = task
        return try await task.value
    }
}

/// A connection between this process and a page.
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
        var events: [PeerConnection.Event] = []
    }

    init(
        _ browser: Browser, endpoint: RTCEndpoint? = nil, configuration: PeerConnection.Configuration = .init()
    ) async throws {
        self.browser = browser
        name = .string("connection \(Self.count.withLock { $0 += 1; return $0 })")
        // Browsers leave loopback addresses out.
        self.endpoint = try endpoint ?? NetworkNamespace.inside(browser.namespace) { try RTCEndpoint() }
        connection = PeerConnection(endpoint: self.endpoint, configuration: configuration)
        connection.setHandler { [weak self] event in
            self?.inbox.withLock { inbox in
                inbox.events.append(event)
                if case .channel(let channel) = event { inbox.channels.append(channel) }
            }
        }
        try await browser.perform("create", name, [:])
    }

    // MARK: - Signalling

    /// Offers to the page.
    func offer() async throws {
        let offer = try await connection.createOffer()
        let answer = try await browser.perform("answer", name, offer.json, false)
        try connection.accept(answer: SessionDescription(json: answer))
    }

    /// Has the page offer to us.
    func beOffered() async throws {
        let offer = try await browser.perform("offer", name, false)
        let answer = try await connection.accept(offer: SessionDescription(json: offer))
        try await browser.perform("accept", name, answer.json)
    }

    // MARK: - Channels

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
            guard ContinuousClock.now < deadline else { throw Browser.Failure(description: "no \(what) in \(limit)") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Byte i is i mod 251.
    static func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 % 251) } }

    /// Has messages of all kinds echoed: text, empty ones, and the largest that the other takes.
    func exchange(_ channel: DataChannel) async throws {
        var messages = channel.messages.makeAsyncIterator()
        let large = Self.pattern(262_144)
        let sent: [DataChannel.Message] = [.text("grüße 🌍"), .text(""), .binary([]), .binary([0]), .binary(large)]
        for message in sent {
            switch message {
            case .text(let text): try await channel.send(text)
            case .binary(let bytes): try await channel.send(bytes)
            }
            if channel.options.isOrdered { #expect(try await messages.next() == message) }
        }
        guard !channel.options.isOrdered else { return }
        var echoes: Set<DataChannel.Message> = []
        for _ in sent { if let message = try await messages.next() { echoes.insert(message) } }
        #expect(echoes == Set(sent))
    }

    /// Ends the connection from our side and waits until the page has seen it.
    func close() async throws {
        connection.close()
        try await browser.perform("close", name)
        endpoint.close()
    }
}
