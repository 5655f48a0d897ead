// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// The free ports of a relayed address, of which any is drawn at random with the same small effort (RFC 6056 §3.3).
struct RelayPorts: Sendable {
    private let range: ClosedRange<UInt16>
    /// The free ports in no order.
    private var free: [UInt16]
    /// Where each port of the range stands among the free ones, -1 for one that is taken.
    private var places: [Int32]
    /// Which ports an allocation relays at, of those that are taken.
    private var isOpen: [Bool]

    /// How many random draws look for a port of a kind before all are looked at.
    private static let draws = 32

    init(_ range: ClosedRange<UInt16>) {
        self.range = range
        free = Array(range)
        places = (0..<Int32(range.count)).map { $0 }
        isOpen = Array(repeating: false, count: range.count)
    }

    /// How many ports are free.
    var freeCount: Int { free.count }

    /// Draws a free port.
    mutating func take(evenOnly: Bool, entropy: inout Entropy) -> UInt16? {
        guard !free.isEmpty else { return nil }
        if !evenOnly {
            let port = free[Int.random(in: 0..<free.count, using: &entropy)]
            remove(port)
            return port
        }
        return draw(&entropy) { port, _ in port % 2 == 0 }
    }

    /// Draws an even port whose next one is free as well, and takes both (RFC 8656 §7.2).
    mutating func takePair(entropy: inout Entropy) -> UInt16? {
        let port = draw(&entropy) { port, ports in port % 2 == 0 && port < .max && ports.isFree(port + 1) }
        if let port { remove(port + 1) }
        return port
    }

    /// Notes that an allocation relays at a port that was taken. Until then somebody else on the host may have it: a
    /// port that is only reserved, or that could not be bound.
    mutating func open(_ port: UInt16) {
        guard range.contains(port) else { return }
        isOpen[Int(port - range.lowerBound)] = true
    }

    /// Whether an allocation relays at a port.
    func isOpen(_ port: UInt16) -> Bool {
        range.contains(port) && isOpen[Int(port - range.lowerBound)]
    }

    /// Gives a port back.
    mutating func give(_ port: UInt16) {
        guard range.contains(port), !isFree(port) else { return }
        isOpen[Int(port - range.lowerBound)] = false
        places[Int(port - range.lowerBound)] = Int32(free.count)
        free.append(port)
    }

    private func isFree(_ port: UInt16) -> Bool {
        range.contains(port) && places[Int(port - range.lowerBound)] >= 0
    }

    private mutating func draw(_ entropy: inout Entropy, _ suits: (UInt16, borrowing RelayPorts) -> Bool) -> UInt16? {
        guard !free.isEmpty else { return nil }
        for _ in 0..<Self.draws {
            let port = free[Int.random(in: 0..<free.count, using: &entropy)]
            if suits(port, self) {
                remove(port)
                return port
            }
        }
        guard let port = free.first(where: { suits($0, self) }) else { return nil }
        remove(port)
        return port
    }

    private mutating func remove(_ port: UInt16) {
        let index = Int(port - range.lowerBound)
        let place = Int(places[index])
        guard place >= 0 else { return }
        places[index] = -1
        let last = free.removeLast()
        guard last != port else { return }
        free[place] = last
        places[Int(last - range.lowerBound)] = Int32(place)
    }
}
