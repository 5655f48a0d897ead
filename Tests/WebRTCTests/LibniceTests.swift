// SPDX-License-Identifier: Apache-2.0
import Foundation
import ICE
import SDP
import Testing
import TestSupport
import WebRTC
import Wire

/// An agent of libnice with candidates for TCP alone, as a process.
private final class NiceAgent {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var unread: [UInt8] = []

    static let isInstalled = FileManager.default.fileExists(atPath: "/usr/include/nice/agent.h")

    init() throws {
        let program = FileManager.default.temporaryDirectory.appending(path: "nice-agent-\(getpid())").path
        let source = Fixtures.checkout.appending(path: "Benchmarks/nice_agent.c").path
        try Self.run("cc -O1 -o '\(program)' '\(source)' $(pkg-config --cflags --libs nice)")
        try #require(FileManager.default.isExecutableFile(atPath: program), "libnice's agent does not compile")
        process.executableURL = URL(filePath: program)
        process.arguments = ["--role", "controlled", "--address", "127.0.0.1", "--tcp", "1"]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        try? FileManager.default.removeItem(atPath: program)
    }

    // It is started with SIGTERM blocked.
    deinit { kill(process.processIdentifier, SIGKILL) }

    /// Runs a command of the shell to its end. Foundation's processes now and then do not hear of that where another
    /// thread waits for children as well, as the one for tests of exits does.
    private static func run(_ command: String) throws {
        var pid: pid_t = 0
        var arguments: [UnsafeMutablePointer<CChar>?] = []
        for word in ["sh", "-c", command] { arguments.append(strdup(word)) }
        arguments.append(nil)
        var environment = [strdup("PATH=\(ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")"), nil]
        defer { for word in arguments + environment { free(word) } }
        try #require(posix_spawn(&pid, "/bin/sh", nil, nil, &arguments, &environment) == 0)
        var status: Int32 = 0
        // Whoever has waited for it already has seen its end.
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    }

    /// What it tells next under this name, within ten seconds.
    func next(_ event: String) throws -> JSON {
        let limit = ContinuousClock.now + .seconds(10)
        while ContinuousClock.now < limit {
            if let end = unread.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: unread[..<end], as: UTF8.self)
                unread.removeSubrange(...end)
                let json = try JSON(parsing: line)
                if json["event"]?.string == event { return json }
                continue
            }
            var waiting = pollfd(fd: output.fileHandleForReading.fileDescriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 200) > 0 else { continue }
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { break }
            unread += data
        }
        throw PeerConnectionError(.closed, "libnice told nothing of \(event)")
    }

    func accept(ufrag: String, password: String, candidates: [String]) {
        let description = JSON.object([
            "ufrag": .string(ufrag), "pwd": .string(password), "candidates": .array(candidates.map { .string($0) }),
        ])
        input.fileHandleForWriting.write(Data((description.serialized() + "\n").utf8))
    }
}

@Suite("libnice over TCP", .enabled(if: NiceAgent.isInstalled, "needs libnice (Debian: libnice-dev)"), .serialized)
struct LibniceTests {
    @Test("a path is found, and frames come through, whoever connects", arguments: [true, false])
    func connects(weConnect: Bool) async throws {
        let nice = try NiceAgent()
        let description = try nice.next("description")
        var configuration = RTCEndpoint.Configuration(addresses: [.loopbackV4])
        configuration.tcpCandidates = .both
        let endpoint = try RTCEndpoint(configuration: configuration)
        let connection = PeerConnection(endpoint: endpoint)
        _ = try connection.createDataChannel("test")
        let offer = try await connection.createOffer()
        let theirs = description["candidates"]?.array?.compactMap(\.string) ?? []
        var own = SessionDescription.Parameters(
            sessionID: 1, iceUfrag: try #require(description["ufrag"]?.string),
            icePwd: try #require(description["pwd"]?.string), fingerprints: offer.fingerprints,
            candidates: theirs.filter { ICECandidate(sdp: $0)?.tcpType == (weConnect ? .passive : .active) },
            endOfCandidates: true)
        // Then the first flight of DTLS is ours.
        own.preferredSetup = .passive
        #expect(!own.candidates.isEmpty, "\(theirs)")
        let ours = offer.candidates.filter {
            ICECandidate(sdp: $0)?.tcpType == (weConnect ? .active : .passive)
        }
        nice.accept(ufrag: offer.iceUfrag, password: offer.icePwd, candidates: ours)
        try connection.accept(answer: try offer.answer(own))
        _ = try nice.next("connected")
        let limit = ContinuousClock.now + .seconds(10)
        var stats = connection.getStats()
        // What it sends as data, of no use to DTLS, comes in frames as well.
        while stats.transport.selectedCandidatePairId == nil || stats.transport.packetsReceived < 20,
            ContinuousClock.now < limit
        {
            try await Task.sleep(for: .milliseconds(20))
            stats = connection.getStats()
        }
        #expect(stats.transport.packetsReceived >= 20)
        let pair = try #require(stats.candidatePairs.first { $0.id == stats.transport.selectedCandidatePairId })
        let local = try #require(stats.localCandidates.first { $0.id == pair.localCandidateId })
        #expect(local.tcpType == (weConnect ? "active" : "passive"))
        connection.abort()
        await connection.closed()
        endpoint.close()
    }
}
