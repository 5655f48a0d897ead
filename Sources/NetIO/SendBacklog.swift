// SPDX-License-Identifier: Apache-2.0
import Wire

/// Packets that the kernel had no room for, in order and bounded in bytes.
struct SendBacklog {
    /// The rest of one send.
    struct Entry {
        let destination: SocketAddress
        let source: IPAddress?
        let bytes: [UInt8]
        /// Where each packet ends in `bytes`.
        let ends: [Int]
        /// The first packet that has not left yet.
        var next = 0
    }

    let capacity: Int
    private(set) var byteCount = 0
    private var entries: [Entry] = []
    private var head = 0

    init(capacity: Int) {
        self.capacity = capacity
    }

    var isEmpty: Bool { head == entries.count }

    /// Keeps packets `first...` as far as there is room; answers how many it kept.
    mutating func append(
        _ bytes: UnsafeRawBufferPointer, ends: [Int], from first: Int, to destination: SocketAddress, source: IPAddress?
    ) -> Int {
        let start = first == 0 ? 0 : ends[first - 1]
        var last = first
        while last < ends.count, byteCount + ends[last] - start <= capacity { last += 1 }
        guard last > first else { return 0 }
        let end = ends[last - 1]
        entries.append(
            Entry(
                destination: destination, source: source, bytes: Array(bytes[start..<end]),
                ends: ends[first..<last].map { $0 - start }))
        byteCount += end - start
        return last - first
    }

    /// Passes entries to `send` in order, which answers the index of the first packet that did not leave, until one does
    /// not leave whole.
    mutating func flush(_ send: (Entry) -> Int) {
        while head < entries.count {
            let next = send(entries[head])
            entries[head].next = next
            guard next == entries[head].ends.count else { return }
            byteCount -= entries[head].bytes.count
            head += 1
        }
        entries.removeAll(keepingCapacity: true)
        head = 0
    }

    /// Drops everything; answers how many packets that were.
    mutating func removeAll() -> Int {
        let count = entries[head...].reduce(0) { $0 + $1.ends.count - $1.next }
        entries = []
        head = 0
        byteCount = 0
        return count
    }
}
