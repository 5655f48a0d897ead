// SPDX-License-Identifier: Apache-2.0
public import Wire

//   client                       server
//     │ connect ── delay ──▶ accepted │ listens
//     │ connected ◀── delay ──        │
//     │ send ──── delay ──▶ received  │
//     │ closed ◀── delay ── close     │

/// A stream of bytes between two hosts, in place of TCP: every byte arrives, in order, after the delay of the links on
/// the way. Loss, rate and queues do not touch it. Boxes let streams out and none in.
extension VirtualNetwork {
    /// A stream.
    public struct StreamID: Hashable, Sendable {
        /// Its number, counted from 0 in the order in which streams were begun.
        public let index: Int
    }

    /// What can happen to a stream at one of its ends.
    public enum StreamEvent: Hashable, Sendable {
        /// A client has connected to a port that this host listens on; `remote` is the client as seen here.
        case accepted(local: SocketAddress, remote: SocketAddress)
        /// The stream that this host began is there.
        case connected(local: SocketAddress, remote: SocketAddress)
        /// The stream that this host began does not come about.
        case failed(StreamFailure)
        /// Bytes came.
        case received([UInt8])
        /// The other end closed, or a box on the way forgot the stream. Nothing follows.
        case closed
    }

    /// Why a stream did not come about.
    public enum StreamFailure: Hashable, Sendable {
        /// The host is there and nobody listens.
        case refused
        /// Nobody answers: there is no such host, or a box lets nothing in.
        case unreachable
    }

    struct Stream: Sendable {
        let client: HostID
        let server: HostID
        /// The client's own address, and what the server sees of it.
        let clientAddress: SocketAddress
        let clientAddressOutside: SocketAddress
        let serverAddress: SocketAddress
        let boxes: [Int]
        /// The links from client to server, and those back.
        let forward: [Int]
        let backward: [Int]
        /// When the latest news arrives at the server, and at the client: nothing overtakes.
        var lastAtServer = Timestamp.zero
        var lastAtClient = Timestamp.zero
        var isClosed = false
    }

    /// Something that is under way to an end of a stream.
    struct StreamNews: Sendable {
        let stream: StreamID
        let host: HostID
        let event: StreamEvent
    }

    /// Where a stream of a host gets.
    private struct StreamPath {
        var server: HostID?
        var clientAddress: SocketAddress
        var boxes: [Int] = []
        var forward: [Int] = []
        var backward: [Int] = []
    }

    /// What TCP implementations take to give up where nobody answers is minutes; a simulation need not wait as long.
    static let streamTimeout = Duration.seconds(30)

    /// Has a host take streams on a port, at all of its addresses.
    public mutating func listen(on port: UInt16, at host: HostID) {
        hosts[host.index].listeners.insert(port)
    }

    /// Begins a stream from an address of a host. A ``StreamEvent/connected(local:remote:)`` or
    /// ``StreamEvent/failed(_:)`` follows.
    public mutating func connect(
        from source: SocketAddress, of host: HostID, to destination: SocketAddress, now: Timestamp
    ) -> StreamID {
        self.now = max(self.now, now)
        let id = StreamID(index: streams.count)
        let path = streamPath(from: source, of: host, to: destination)
        var stream = Stream(
            client: host, server: path.server ?? host, clientAddress: source, clientAddressOutside: path.clientAddress,
            serverAddress: destination, boxes: path.boxes, forward: path.forward, backward: path.backward)
        let there = delay(of: path.forward)
        let back = delay(of: path.backward)
        if let server = path.server, hosts[server.index].listeners.contains(destination.port) {
            stream.lastAtServer = self.now + there
            stream.lastAtClient = self.now + there + back
            streams.append(stream)
            announce(
                .accepted(local: destination, remote: path.clientAddress), of: id, to: server, at: stream.lastAtServer)
            announce(.connected(local: source, remote: destination), of: id, to: host, at: stream.lastAtClient)
        } else {
            stream.isClosed = true
            streams.append(stream)
            let failure: StreamFailure = path.server == nil ? .unreachable : .refused
            let wait = path.server == nil ? VirtualNetwork.streamTimeout : there + back
            announce(.failed(failure), of: id, to: host, at: self.now + wait)
        }
        return id
    }

    /// Sends bytes to the other end. On a closed stream they go nowhere.
    public mutating func send(_ bytes: [UInt8], on stream: StreamID, from host: HostID, now: Timestamp) {
        guard !bytes.isEmpty else { return }
        tell(stream, .received(bytes), from: host, now)
    }

    /// Closes a stream: the other end hears of it after all bytes that were sent before.
    public mutating func close(_ stream: StreamID, from host: HostID, now: Timestamp) {
        tell(stream, .closed, from: host, now)
        streams[stream.index].isClosed = true
    }

    // MARK: - Under way

    private mutating func tell(_ id: StreamID, _ event: StreamEvent, from host: HostID, _ now: Timestamp) {
        self.now = max(self.now, now)
        let stream = streams[id.index]
        guard !stream.isClosed else { return }
        precondition(host == stream.client || host == stream.server, "a stream is used by its ends")
        if host == stream.client {
            // What is sent before the stream is there follows it.
            let time = max(self.now + delay(of: stream.forward), stream.lastAtServer)
            streams[id.index].lastAtServer = time
            announce(event, of: id, to: stream.server, at: time)
        } else {
            let time = max(self.now + delay(of: stream.backward), stream.lastAtClient)
            streams[id.index].lastAtClient = time
            announce(event, of: id, to: stream.client, at: time)
        }
    }

    private mutating func announce(_ event: StreamEvent, of stream: StreamID, to host: HostID, at time: Timestamp) {
        let news = StreamNews(stream: stream, host: host, event: event)
        if let number = freeStreamNews.popLast() {
            streamNews[number] = news
            queue.add(.stream(number), at: time)
        } else {
            queue.add(.stream(streamNews.count), at: time)
            streamNews.append(news)
        }
    }

    mutating func deliver(_ number: Int) {
        let news = streamNews[number]
        streamNews[number] = StreamNews(stream: news.stream, host: news.host, event: .closed)
        freeStreamNews.append(number)
        arrivals.append(Arrival(time: now, host: news.host, event: .stream(news.stream, news.event)))
    }

    /// Ends the streams through a box that has forgotten them: both ends hear of it at once.
    mutating func endStreams(through box: Int) {
        for (index, stream) in streams.enumerated() where !stream.isClosed && stream.boxes.contains(box) {
            streams[index].isClosed = true
            let id = StreamID(index: index)
            announce(.closed, of: id, to: stream.client, at: max(now, stream.lastAtClient))
            announce(.closed, of: id, to: stream.server, at: max(now, stream.lastAtServer))
        }
    }

    // MARK: - Paths

    private func delay(of lanes: [Int]) -> Duration {
        lanes.reduce(.zero) { $0 + self.lanes[$1].link.conditions.delay }
    }

    /// The way of a stream, through boxes that make a port for it; without a server where there is none.
    private mutating func streamPath(
        from source: SocketAddress, of host: HostID, to destination: SocketAddress
    ) -> StreamPath {
        var path = StreamPath(clientAddress: source)
        guard hosts[host.index].addresses.contains(source.ip) else { return path }
        path.forward = [hosts[host.index].up]
        path.backward = [hosts[host.index].down]
        var segment = hosts[host.index].segment
        while true {
            switch segments[segment].routes[destination.ip] {
            case .host(let server)?:
                path.forward.append(hosts[server.index].down)
                path.backward.append(hosts[server.index].up)
                path.server = server
                return path
            case .nat(let nat)?:
                // From outside a box lets in no streams; only one that is none does.
                guard boxes[nat.index].nat.profile.kind == .open else { return path }
                path.forward.append(boxes[nat.index].down)
                path.backward.append(boxes[nat.index].up)
                segment = boxes[nat.index].inside
            case nil:
                guard let box = segments[segment].box else { return path }
                let nat = boxes[box].nat
                guard !nat.externalAddresses.contains(destination.ip) else { return path }
                if nat.isTranslated(path.clientAddress.ip) {
                    let index = Int(path.clientAddress.ip.low % UInt64(nat.externalAddresses.count))
                    path.clientAddress = SocketAddress(
                        ip: nat.externalAddresses[index], port: boxes[box].nextStreamPort)
                    boxes[box].nextStreamPort =
                        boxes[box].nextStreamPort == .max ? 32_768 : boxes[box].nextStreamPort + 1
                }
                path.boxes.append(box)
                path.forward.append(boxes[box].up)
                path.backward.append(boxes[box].down)
                segment = boxes[box].segment
            }
        }
    }
}
