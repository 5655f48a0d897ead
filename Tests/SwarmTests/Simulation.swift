// SPDX-License-Identifier: Apache-2.0

import Hashing
import RDRR
@testable import Swarm
import Testing
import Wire

/// Nodes on virtual time, with links of a rate and a latency, disks and an HTTP origin.
final class Simulation {
    private(set) var now = Timestamp.zero
    private var queue: [(at: Timestamp, order: Int, run: () -> Void)] = []
    private var order = 0
    private var nextHandle: UInt64 = 0
    var nodes: [SimulatedNode] = []
    var entropy: Entropy

    init(seed: UInt64) { entropy = Entropy(seed: seed) }

    func add(_ node: SimulatedNode) -> SimulatedNode {
        nodes.append(node)
        return node
    }

    /// Does something later; what was put in first at one time runs first.
    func after(_ delay: Duration, _ run: @escaping () -> Void) {
        order += 1
        let item = (at: now + delay, order: order, run: run)
        var low = 0
        var high = queue.count
        while low < high {
            let middle = (low + high) / 2
            // Latest first, so that the next is taken from the end.
            if (queue[middle].at, queue[middle].order) > (item.at, item.order) { low = middle + 1 } else { high = middle }
        }
        queue.insert(item, at: low)
    }

    /// Runs until `isDone` or the time is up; whether it was done.
    @discardableResult
    func run(for limit: Duration, until isDone: () -> Bool = { false }) -> Bool {
        let end = now + limit
        while !isDone() {
            guard let next = queue.last, next.at <= end else {
                now = end
                return isDone()
            }
            queue.removeLast()
            now = next.at
            next.run()
        }
        return true
    }

    /// A connection offered by `offerer`.
    func connect(_ offerer: SimulatedNode, _ answerer: SimulatedNode) {
        nextHandle += 1
        let handle = PeerHandle(nextHandle)
        offerer.links[handle] = .init(other: answerer)
        answerer.links[handle] = .init(other: offerer)
        offerer.core.peerConnected(
            handle, role: .offerer, certificateDigest: answerer.certificateDigest,
            maxMessageSize: answerer.maxMessageSize, bulkIsOpen: true, now: now)
        offerer.drain()
        answerer.core.peerConnected(
            handle, role: .answerer, certificateDigest: offerer.certificateDigest,
            maxMessageSize: offerer.maxMessageSize, bulkIsOpen: true, now: now)
        answerer.drain()
    }
}

/// A core with its channels, disk and origin.
final class SimulatedNode {
    struct Link {
        let other: SimulatedNode
        var buffered = 0
    }

    unowned let simulation: Simulation
    let model: Model
    let certificateDigest: [UInt8]
    var core: SwarmCore
    var links: [PeerHandle: Link] = [:]
    var rate = 20_000_000.0
    var latency = Duration.milliseconds(10)
    var maxMessageSize = 262_144
    /// What happens to frames on their way out; `nil` drops one.
    var tamper: ((BulkHeader, [UInt8]) -> (BulkHeader, [UInt8])?)?
    var tamperControl: ((String) -> String?)?
    /// What the HTTP origin holds; `nil`: no such file.
    var origin: ((OriginResource) -> [UInt8]?)?
    var diskIsFull = false
    private(set) var parts: [Int: [UInt8]] = [:]
    private(set) var keptValues: [Int: [BLAKE3.Digest?]] = [:]
    private(set) var files: [Int: [UInt8]] = [:]
    private(set) var events: [SwarmEvent] = []
    private(set) var closes: [SwarmCloseReason] = []
    private var freeAt = Timestamp.zero
    private var timer: Timestamp?
    private(set) var isDead = false
    var name: String

    init(
        _ simulation: Simulation, _ name: String, model: Model, certificate number: UInt8, hasOrigin: Bool = false,
        configuration: SwarmConfiguration = SwarmConfiguration()
    ) {
        self.simulation = simulation
        self.name = name
        self.model = model
        certificateDigest = certificate(number)
        core = SwarmCore(
            manifestDigest: model.digest, certificateDigest: certificateDigest, hasOrigin: hasOrigin,
            configuration: configuration, entropy: Entropy(seed: UInt64(number)), now: simulation.now)
        drain()
    }

    /// Starts with the manifest and these entries on disk, and wants the others.
    func start(having: Set<Int> = [], wanting: Set<Int>? = nil) {
        core.setCatalog(model.catalog, manifest: model.manifest, now: simulation.now)
        for index in having.sorted() {
            files[index] = model.contents[index]
            core.entryOnDisk(index, values: model.values[index])
        }
        core.want((wanting ?? Set(model.contents.indices)).sorted())
        core.begin(now: simulation.now)
        drain()
    }

    /// A new process on the disk of an old one.
    func restart(from old: SimulatedNode, trusting: Bool = false) {
        core.setCatalog(model.catalog, manifest: model.manifest, now: simulation.now)
        for index in model.contents.indices {
            if let file = old.files[index] {
                files[index] = file
                core.entryOnDisk(index, values: Model.values(of: file))
            } else if let part = old.parts[index], let values = old.keptValues[index] {
                parts[index] = part
                keptValues[index] = values
                let found = Dictionary(uniqueKeysWithValues: Model.values(of: part).enumerated().map { ($0, $1) })
                core.partOnDisk(index, values: values, groups: found)
            }
        }
        core.want(model.contents.indices)
        core.begin(now: simulation.now)
        drain()
    }

    /// Whether every file is there; each was compared with the model when it was finished.
    var isComplete: Bool { model.contents.indices.allSatisfy { model.contents[$0].isEmpty || files[$0] != nil } }

    var served: Int { core.statistics.bytesServed }

    /// Dies without a word; the others notice after a while, or never.
    func die(noticedAfter delay: Duration?) {
        isDead = true
        for (handle, link) in links {
            guard let delay else { continue }
            simulation.after(delay) {
                link.other.links[handle] = nil
                link.other.core.peerDisconnected(handle, reason: "gone", now: self.simulation.now)
                link.other.drain()
            }
        }
    }

    /// Lets a test speak for the node.
    func sendRaw(_ bytes: [UInt8], on handle: PeerHandle, bulk: Bool, isText: Bool) {
        deliver(bytes, on: handle, bulk: bulk, isText: isText, after: latency)
    }

    private func deliver(_ bytes: [UInt8], on handle: PeerHandle, bulk: Bool, isText: Bool, after delay: Duration) {
        guard let other = links[handle]?.other else { return }
        simulation.after(delay) {
            guard !other.isDead, other.links[handle] != nil else { return }
            if bulk {
                other.core.receiveBulk(handle, bytes.span.bytes, isText: isText, now: self.simulation.now)
            } else {
                other.core.receiveControl(handle, bytes.span.bytes, isText: isText, now: self.simulation.now)
            }
            other.drain()
        }
    }

    func drain() {
        guard !isDead else { return }
        while true {
            let actions = core.takeActions()
            guard !actions.isEmpty else { break }
            for action in actions { perform(action) }
        }
        if let next = core.nextTimeout, timer == nil || next < timer ?? next {
            timer = next
            simulation.after(max(.zero, next - simulation.now)) { [self] in
                guard !isDead, timer == next else { return }
                timer = nil
                core.handleTimeout(now: simulation.now)
                drain()
            }
        }
    }

    private func perform(_ action: SwarmAction) {
        switch action {
        case .sendControl(let handle, let text):
            guard let text = tamperControl.map({ $0(text) }) ?? text else { return }
            deliver(Array(text.utf8), on: handle, bulk: false, isText: true, after: latency)
        case .framesReady(let handle): pump(handle)
        case .close(let handle, let reason):
            closes.append(reason)
            guard let link = links.removeValue(forKey: handle) else { return }
            simulation.after(latency) {
                guard link.other.links.removeValue(forKey: handle) != nil else { return }
                link.other.core.peerDisconnected(handle, reason: "closed", now: self.simulation.now)
                link.other.drain()
            }
        case .writeGroup(let entry, let group, let buffer):
            let bytes = Array(buffer.bytes)
            let isFull = diskIsFull
            if !isFull {
                let range = model.catalog.entries[entry].range(ofGroup: group)
                parts[entry, default: [UInt8](repeating: 0, count: model.contents[entry].count)]
                    .replaceSubrange(range, with: bytes)
            }
            simulation.after(.milliseconds(1)) { [self] in
                core.groupWritten(
                    entry: entry, group: group, buffer: buffer, error: isFull ? "No space left on device" : nil,
                    now: simulation.now)
                drain()
            }
        case .writeValues(let entry, let first, let values):
            keptValues[entry, default: Array(repeating: nil, count: model.values[entry].count)]
                .replaceSubrange(first..<first + values.count, with: values)
        case .finishEntry(let entry, let checksHash):
            simulation.after(.milliseconds(1)) { [self] in
                let bytes = parts[entry] ?? []
                if checksHash, SHA256.hash(bytes) != model.catalog.entries[entry].hash {
                    core.entryFinished(entry, result: .hashMismatch, now: simulation.now)
                } else {
                    #expect(bytes == model.contents[entry], "an unverified entry was finished")
                    files[entry] = bytes
                    parts[entry] = nil
                    core.entryFinished(entry, result: .finished, now: simulation.now)
                }
                drain()
            }
        case .discardPart(let entry):
            parts[entry] = nil
            keptValues[entry] = nil
        case .removeEntry(let entry): files[entry] = nil
        case .fetch(let id, let resource): fetch(id, resource)
        case .cancelFetch: break
        case .event(let event):
            events.append(event)
            if case .manifest = event {
                simulation.after(.zero) { self.start() }
            }
        }
    }

    private func fetch(_ id: OriginRequestID, _ resource: OriginResource) {
        guard let bytes = origin?(resource) else {
            simulation.after(.milliseconds(20)) { [self] in
                core.originFailed(id, "404 Not Found", isPermanent: true, now: simulation.now)
                drain()
            }
            return
        }
        var delay = Duration.milliseconds(20)
        for start in stride(from: 0, to: bytes.count, by: 50_000) {
            let part = Array(bytes[start..<min(start + 50_000, bytes.count)])
            delay += .milliseconds(5)
            simulation.after(delay) { [self] in
                core.originReceived(id, part.span.bytes, now: simulation.now)
                drain()
            }
        }
        simulation.after(delay + .milliseconds(1)) { [self] in
            core.originFinished(id, now: simulation.now)
            drain()
        }
    }

    private func pump(_ handle: PeerHandle) {
        while let link = links[handle], link.buffered < 1 << 20, let frame = core.nextFrame(for: handle, now: simulation.now) {
            var header = frame.header
            var data: [UInt8]
            switch frame.payload {
            case .bytes(let bytes): data = bytes
            case .file(let entry, let offset):
                let bytes = files[entry] ?? parts[entry] ?? []
                data = Array(bytes[offset..<offset + frame.length])
                #expect(data == Array(model.contents[entry][offset..<offset + frame.length]), "unverified bytes served")
            }
            #expect(frame.byteCount <= (link.other.maxMessageSize == 0 ? 262_144 : link.other.maxMessageSize))
            if let tamper {
                guard let changed = tamper(header, data) else { continue }
                (header, data) = changed
            }
            let message = header.message(data)
            links[handle]?.buffered += message.count
            freeAt = max(freeAt, simulation.now) + .nanoseconds(Int64(Double(message.count) / rate * 1e9))
            let sent = freeAt - simulation.now
            simulation.after(sent) { [self] in
                guard !isDead, links[handle] != nil else { return }
                links[handle]?.buffered -= message.count
                if (links[handle]?.buffered ?? 0) < 512 << 10 { pump(handle) }
                drain()
            }
            deliver(message, on: handle, bulk: true, isText: false, after: sent + latency)
        }
    }
}
