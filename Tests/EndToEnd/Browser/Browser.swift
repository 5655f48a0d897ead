// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing
import Wire

/// A browser without a window that shows `page.html` and does what a test says.
///
/// The page asks this process over HTTP what to do and tells what happens, which is all the driving there is: no
/// automation protocol is needed, and the page runs in any browser that is sent to ``address``.
final class Browser: Sendable {
    /// Whose browser.
    enum Kind: String, CaseIterable, Sendable, CustomTestStringConvertible {
        case chromium, firefox

        var testDescription: String { rawValue }

        /// The program; `nil` where it is absent.
        var program: String? {
            let names =
                self == .chromium ? ["chromium", "chromium-browser", "google-chrome"] : ["firefox-esr", "firefox"]
            return names.map { "/usr/bin/\($0)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
        }

        /// The kinds that this host has; those that it lacks are told.
        static let installed: [Kind] = allCases.filter { kind in
            if kind.program == nil { print("skipped: \(kind.rawValue) is absent (scripts/setup --tests installs it)") }
            return kind.program != nil
        }
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    fileprivate struct State {
        var commands: [JSON] = []
        var lastID: Int64 = 0
        var results: [Int64: JSON] = [:]
        var events: [JSON] = []
    }

    let kind: Kind
    /// Where it runs; `nil` for this process's own network.
    let namespace: NetworkNamespace?
    private let server: LoopbackServer
    private let process: LineProcess
    private let profile: Scratch
    private let state: Inbox

    /// What the server's threads and the tests share.
    fileprivate final class Inbox: Sendable {
        let state = Mutex(State())
    }

    /// Where the page is.
    var address: String { "http://127.0.0.1:\(server.port)/" }
    /// The browser's process, which leads all of its others.
    var pid: Int32 { process.pid }

    /// Starts a browser and waits for its page. With `hidesAddresses` its host candidates bear names of multicast DNS
    /// instead of addresses.
    init(_ kind: Kind, hidesAddresses: Bool = false, in namespace: NetworkNamespace? = nil) async throws {
        let program = try #require(kind.program)
        self.kind = kind
        self.namespace = namespace
        let inbox = Inbox()
        state = inbox
        let folder = Fixtures.checkout.appending(path: "Tests/EndToEnd/Browser").path
        server = try NetworkNamespace.inside(namespace) {
            try LoopbackServer { Self.serve($0, folder: folder, inbox) }
        }
        profile = try Scratch()
        let url = "http://127.0.0.1:\(server.port)/"
        let arguments: [String]
        switch kind {
        case .chromium: arguments = Self.chromium(profile.path, hidesAddresses: hidesAddresses) + [url]
        case .firefox:
            try Self.preferences(hidesAddresses: hidesAddresses)
                .write(toFile: profile("user.js"), atomically: true, encoding: .utf8)
            arguments = ["--headless", "--no-remote", "--profile", profile.path, url]
        }
        let command = (namespace?.prefix ?? []) + [program] + arguments
        process = try LineProcess(
            command[0], Array(command.dropFirst()),
            environment: ["HOME": profile.path, "XDG_RUNTIME_DIR": profile.path, "MOZ_DISABLE_AUTO_SAFE_MODE": "1"])
        _ = try await event(["event": "ready"], within: .seconds(60))
    }

    deinit {
        server.stop()
        process.kill()
    }

    /// Stops all of the browser's processes where they are, so that it neither reads nor answers.
    func pause() { signal(SIGSTOP) }
    /// Lets them go on.
    func resume() { signal(SIGCONT) }

    private func signal(_ number: Int32) {
        for process in descendants(of: process.pid) { kill(process, number) }
    }

    /// A process and all that it started, as /proc tells.
    private func descendants(of leader: Int32) -> [Int32] {
        var parents: [Int32: Int32] = [:]
        for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
            guard let pid = Int32(name), let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
                // pid (name) state parent …; the name may hold anything.
                let end = stat.lastIndex(of: ")")
            else { continue }
            let fields = stat[end...].split(separator: " ")
            if fields.count > 2 { parents[pid] = Int32(fields[2]) }
        }
        var found = [leader]
        var index = 0
        while index < found.count {
            found += parents.filter { $0.value == found[index] }.map(\.key)
            index += 1
        }
        return found
    }

    private static func chromium(_ profile: String, hidesAddresses: Bool) -> [String] {
        var disabled = ["Translate", "OptimizationHints", "MediaRouter", "DialMediaRouteProvider"]
        if !hidesAddresses { disabled.append("WebRtcHideLocalIpsWithMdns") }
        return [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--user-data-dir=\(profile)", "--disable-features=\(disabled.joined(separator: ","))",
            // A page without a window counts as one in the background.
            "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
            "--disable-backgrounding-occluded-windows",
            // It speaks to nobody but the test.
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-default-apps", "--disable-extensions",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
    }

    private static func preferences(hidesAddresses: Bool) -> String {
        let nowhere = "\"http://127.0.0.1:9/\""
        let values = [
            ("media.peerconnection.ice.obfuscate_host_addresses", hidesAddresses ? "true" : "false"),
            ("browser.shell.checkDefaultBrowser", "false"), ("browser.aboutwelcome.enabled", "false"),
            ("browser.startup.homepage_override.mstone", "\"ignore\""), ("browser.startup.page", "0"),
            ("datareporting.policy.dataSubmissionEnabled", "false"), ("toolkit.telemetry.enabled", "false"),
            ("toolkit.telemetry.reportingpolicy.firstRun", "false"), ("app.normandy.enabled", "false"),
            ("app.update.auto", "false"), ("extensions.update.enabled", "false"),
            ("network.dns.disablePrefetch", "true"),
            ("network.captive-portal-service.enabled", "false"), ("network.connectivity-service.enabled", "false"),
            ("network.prefetch-next", "false"), ("browser.safebrowsing.malware.enabled", "false"),
            ("browser.safebrowsing.phishing.enabled", "false"), ("browser.safebrowsing.downloads.enabled", "false"),
            ("services.settings.server", nowhere), ("browser.newtabpage.activity-stream.feeds.telemetry", "false"),
            ("browser.region.network.url", "\"\""), ("browser.search.update", "false"), ("dom.push.enabled", "false"),
            ("geo.enabled", "false"), ("media.gmp-manager.url", nowhere),
            ("browser.sessionstore.resume_from_crash", "false"),
        ]
        return values.map { "user_pref(\"\($0)\", \($1));\n" }.joined()
    }

    // MARK: - The page's server

    private static func serve(_ connection: LoopbackServer.Connection, folder: String, _ inbox: Inbox) {
        while let head = connection.readHead() {
            let words = head.split(separator: " ")
            let path = words.count > 1 ? String(words[1]) : ""
            switch path {
            case "/", "/page.js":
                let name = path == "/" ? "page.html" : "page.js"
                let bytes = (try? Data(contentsOf: URL(filePath: "\(folder)/\(name)"))).map { [UInt8]($0) } ?? []
                connection.respond(200, type: path == "/" ? "text/html" : "text/javascript", bytes)
            case "/command":
                let deadline = ContinuousClock.now + .seconds(20)
                var command: JSON?
                while command == nil, ContinuousClock.now < deadline {
                    command = inbox.state.withLock { $0.commands.isEmpty ? nil : $0.commands.removeFirst() }
                    if command == nil { usleep(2000) }
                }
                let text = command?.serialized() ?? ""
                connection.respond(command == nil ? 204 : 200, type: "application/json", Array(text.utf8))
            case "/report":
                guard let body = connection.readBody(of: head) else { return }
                inbox.take(body)
                connection.respond(204, type: "text/plain", [])
            default:
                connection.respond(404, type: "text/plain", [])
            }
        }
    }

    // MARK: - Telling and asking

    /// Has the page do something and waits for what comes of it.
    @discardableResult
    func perform(_ action: String, _ arguments: JSON..., within limit: Duration = .seconds(30)) async throws -> JSON {
        let id = begin(action, arguments)
        return try await result(of: id, action, within: limit)
    }

    /// Has the page begin something; ``result(of:_:within:)`` waits for it.
    func begin(_ action: String, _ arguments: [JSON]) -> Int64 {
        state.state.withLock { state in
            state.lastID += 1
            state.commands.append(["id": .integer(state.lastID), "do": .string(action), "with": .array(arguments)])
            return state.lastID
        }
    }

    /// What came of something.
    func result(of id: Int64, _ action: String, within limit: Duration = .seconds(30)) async throws -> JSON {
        let report = try await wait("the result of \(action)", limit) { $0.results.removeValue(forKey: id) }
        if let error = report["error"]?.string { throw Failure(description: "\(kind) \(action): \(error)") }
        return report["value"] ?? .null
    }

    /// The next event with these members; others are left for later.
    func event(_ members: [String: JSON], within limit: Duration = .seconds(20)) async throws -> JSON {
        try await wait("\(members)", limit) { state in
            let index = state.events.firstIndex { event in members.allSatisfy { event[$0.key] == $0.value } }
            return index.map { state.events.remove(at: $0) }
        }
    }

    /// The next event of a connection that satisfies a condition, if one came.
    func takeEvent(where matches: (JSON) -> Bool) -> JSON? {
        state.state.withLock { state in
            state.events.firstIndex(where: matches).map { state.events.remove(at: $0) }
        }
    }

    private func wait(_ what: String, _ limit: Duration, for take: (inout State) -> JSON?) async throws -> JSON {
        let deadline = ContinuousClock.now + limit
        while true {
            let (found, events): (JSON?, [JSON]) = state.state.withLock { (take(&$0), $0.events) }
            if let found { return found }
            // Told once, so that later tests do not fail for it.
            if let failure = takeEvent(where: { $0["event"] == "failure" }) {
                throw Failure(description: "\(kind): \(failure.serialized())")
            }
            guard ContinuousClock.now < deadline else {
                throw Failure(
                    description: "\(kind) did not tell \(what) within \(limit); it told "
                        + events.suffix(20).map { $0.serialized() }.joined(separator: "\n"))
            }
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}

extension Browser.Inbox {
    fileprivate func take(_ body: [UInt8]) {
        guard let reports = try? JSON(parsing: String(decoding: body, as: UTF8.self)).array else { return }
        state.withLock { state in
            for report in reports {
                if report["event"] == nil, let id = report["id"]?.integer {
                    state.results[id] = report
                } else {
                    state.events.append(report)
                }
            }
        }
    }
}

extension LoopbackServer.Connection {
    /// Writes a response; the connection stays open.
    fileprivate func respond(_ status: Int, type: String, _ body: [UInt8]) {
        let length = status == 204 ? "" : "Content-Length: \(body.count)\r\n"
        write("HTTP/1.1 \(status) -\r\nContent-Type: \(type)\r\nCache-Control: no-store\r\n\(length)\r\n")
        write(body)
    }

    /// The body of a request whose head was read.
    fileprivate func readBody(of head: String) -> [UInt8]? {
        let name = "content-length:"
        let line = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix(name) }
        guard let count = line.flatMap({ Int($0.dropFirst(name.count).drop { $0 == " " }) }), count < 64 << 20 else {
            return nil
        }
        var body = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let got = body.withUnsafeMutableBytes { room in
                recv(descriptor, room.baseAddress?.advanced(by: filled), count - filled, 0)
            }
            guard got > 0 else { return nil }
            filled += got
        }
        return body
    }
}
