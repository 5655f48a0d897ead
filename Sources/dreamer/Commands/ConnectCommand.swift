// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import SDP
import WebRTC

/// `dreamer connect`
struct ConnectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connect",
        abstract:
            "Connect two terminals without any server, by pasting an offer and an answer; then chat or send files.",
        discussion: """
            Run it on both sides. On one press Enter: an offer is shown. Paste it on the other, which shows an answer; paste \
            that on the first. Then every line typed is sent, /send FILE sends a file, /quit ends.
            """)

    @OptionGroup var connection: ConnectionOptions

    @Flag(help: "Show offer and answer as QR codes too.")
    var qr = false

    @Option(help: "The folder for files that the other side sends.")
    var downloads: String = "."

    func run() async throws {
        let endpoint = try connection.makeEndpoint()
        defer { endpoint.close() }
        let trace = try connection.openTrace()
        var settings = try connection.peerConfiguration(connection.makeRelayBudget(json: false))
        // A person carries the answer, and may take a day.
        settings.patience = .seconds(24 * 3600)
        let peer = PeerConnection(endpoint: endpoint, configuration: settings)
        do {
            try await converse(peer, trace)
        } catch {
            peer.abort()
            throw error
        }
        // What was sent last still has to arrive.
        peer.close()
        await peer.closed()
    }

    private func converse(_ peer: PeerConnection, _ trace: TraceFile?) async throws {
        let (incoming, arrived) = AsyncStream<DataChannel>.makeStream()
        peer.setHandler { event in
            trace?.write(event, of: "peer")
            if case .channel(let channel) = event { arrived.yield(channel) }
            if case .stateChanged(let state) = event, state == .failed || state == .closed { arrived.finish() }
        }
        var lines = StandardInput.lines.makeAsyncIterator()
        Terminal.note("Paste the other side's offer, or press Enter to make one:")
        guard let first = try await lines.nextText() else { return }
        var channels: [String: DataChannel] = [:]
        if first.isEmpty {
            for label in [PeerChat.chatLabel, PeerChat.filesLabel] {
                channels[label] = try peer.createDataChannel(label)
            }
            try show(await peer.createOffer(), "Give this offer to the other side:")
            Terminal.note("Paste the other side's answer:")
            guard let answer = try await lines.nextText() else { return }
            try peer.accept(answer: read(answer))
        } else {
            try show(await peer.accept(offer: read(first)), "Give this answer to the other side:")
            for await channel in incoming {
                channels[channel.label] = channel
                if channels.count == 2 { break }
            }
        }
        guard let chat = channels[PeerChat.chatLabel], let files = channels[PeerChat.filesLabel] else {
            throw peer.failure.map { CommandFailure("no connection: \($0)") }
                ?? CommandFailure("the other side opened no channels of dreamer connect")
        }
        do { try await chat.opened() } catch { throw CommandFailure("no connection: \(error)") }
        Terminal.note("Connected. Type to chat; /send FILE sends a file; /quit ends.")
        try await PeerChat(chat: chat, files: files, downloads: downloads).run(&lines)
    }

    private func read(_ text: String) throws -> SessionDescription {
        do {
            return try OutOfBand.decode(text)
        } catch {
            throw CommandFailure("what was pasted cannot be used: \(error)")
        }
    }

    private func show(_ description: SessionDescription, _ title: String) throws {
        let text = OutOfBand.encode(description)
        Terminal.note(title)
        Terminal.output(text)
        if qr { for line in try QRCode(text).lines { Terminal.note(line) } }
    }
}

extension AsyncStream<String>.Iterator {
    /// The next line without white space around it.
    fileprivate mutating func nextText() async throws -> String? {
        guard let line = await next() else { return nil }
        return String(line.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
    }
}
