// SPDX-License-Identifier: Apache-2.0
internal import Wire

//   byKey      (inside, remote as far as the mapping depends on it) ──▶ mapping
//   byExternal external address and port ──▶ the newest mapping that has it ──▶ older ones (port overloading)
//   by age     oldest ◀─▶ … ◀─▶ newest refresh
//
// All mappings of a NAT live equally long, so the order of their last refresh is the order in which they end: what is
// due stands in front, and nothing is ever searched.

/// The mappings of one NAT.
struct MappingTable: Sendable {
    /// What a mapping is used again for.
    struct Key: Hashable, Sendable {
        let inside: SocketAddress
        /// As much of the destination as the mapping depends on; ``SocketAddress/unspecified`` for nothing of it.
        let remote: SocketAddress

        func hash(into hasher: inout Hasher) {
            // Fewer words than the fields have: this stands on the path of every packet.
            hasher.combine(inside.ip.low)
            hasher.combine(remote.ip.low ^ remote.ip.high)
            hasher.combine(UInt32(inside.port) << 16 | UInt32(remote.port))
        }
    }

    /// One mapping.
    struct Mapping: Sendable {
        let key: Key
        let external: SocketAddress
        var expiry: Timestamp
        /// Who may answer, as far as the filter depends on it, and until when.
        var destinations: [SocketAddress: Timestamp] = [:]
        var latestDestination: SocketAddress
        /// The mapping that had the same external port before.
        fileprivate(set) var older = MappingTable.none
        fileprivate var previous = MappingTable.none
        fileprivate var next = MappingTable.none
    }

    /// What stands for no mapping.
    static let none = -1

    private var mappings: [Mapping] = []
    private var free: [Int] = []
    private var byKey: [Key: Int] = [:]
    private var byExternal: [SocketAddress: Int] = [:]
    private var oldest = MappingTable.none
    private var newest = MappingTable.none

    /// How many mappings there are.
    var count: Int { byKey.count }

    subscript(index: Int) -> Mapping {
        get { mappings[index] }
        _modify { yield &mappings[index] }
    }

    /// The mapping of a key.
    func find(_ key: Key) -> Int? { byKey[key] }

    /// The newest mapping with an external address.
    func newest(at external: SocketAddress) -> Int? { byExternal[external] }

    /// Whether a mapping has this external address.
    func uses(_ external: SocketAddress) -> Bool { byExternal[external] != nil }

    /// The mapping that ends first, where its time has come.
    func due(_ now: Timestamp) -> Int? {
        oldest != MappingTable.none && mappings[oldest].expiry <= now ? oldest : nil
    }

    /// The mappings, the one that ends first in front.
    var all: [Mapping] {
        var all: [Mapping] = []
        var index = oldest
        while index != MappingTable.none {
            all.append(mappings[index])
            index = mappings[index].next
        }
        return all
    }

    mutating func insert(_ key: Key, external: SocketAddress, toward destination: SocketAddress, expiry: Timestamp)
        -> Int
    {
        var mapping = Mapping(key: key, external: external, expiry: expiry, latestDestination: destination)
        mapping.older = byExternal[external] ?? MappingTable.none
        let index: Int
        if let reused = free.popLast() {
            index = reused
            mappings[index] = mapping
        } else {
            index = mappings.count
            mappings.append(mapping)
        }
        byKey[key] = index
        byExternal[external] = index
        append(index)
        return index
    }

    /// Sets when a mapping ends: later than all others.
    mutating func refresh(_ index: Int, expiry: Timestamp) {
        mappings[index].expiry = expiry
        guard index != newest else { return }
        detach(index)
        append(index)
    }

    mutating func remove(_ index: Int) {
        detach(index)
        byKey[mappings[index].key] = nil
        let external = mappings[index].external
        let older = mappings[index].older
        if byExternal[external] == index {
            byExternal[external] = older == MappingTable.none ? nil : older
        } else {
            var newer = byExternal[external] ?? MappingTable.none
            while newer != MappingTable.none, mappings[newer].older != index { newer = mappings[newer].older }
            if newer != MappingTable.none { mappings[newer].older = older }
        }
        mappings[index].destinations = [:]
        free.append(index)
    }

    private mutating func append(_ index: Int) {
        mappings[index].previous = newest
        mappings[index].next = MappingTable.none
        if newest == MappingTable.none { oldest = index } else { mappings[newest].next = index }
        newest = index
    }

    private mutating func detach(_ index: Int) {
        let previous = mappings[index].previous
        let next = mappings[index].next
        if previous == MappingTable.none { oldest = next } else { mappings[previous].next = next }
        if next == MappingTable.none { newest = previous } else { mappings[next].previous = previous }
    }
}
