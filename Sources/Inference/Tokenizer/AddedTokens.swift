// SPDX-License-Identifier: Apache-2.0

/// The tokens that are found in text as they stand, before anything is merged: control tokens and user-defined ones.
struct AddedTokens: Sendable {
    /// A trie: node and byte to node. Adversarial text costs no more than the longest token at each place.
    private var edges: [UInt64: Int32] = [:]
    /// The token that ends at each node, -1 where none does.
    private var ends: [Int32] = [-1]
    private var begins = [Bool](repeating: false, count: 256)

    /// Whether there are none.
    var isEmpty: Bool { edges.isEmpty }

    /// Adds a token. The first of two that say the same stays.
    mutating func insert(_ token: Int32, _ bytes: ArraySlice<UInt8>) {
        guard let first = bytes.first else { return }
        begins[Int(first)] = true
        var node: Int32 = 0
        for byte in bytes {
            let edge = UInt64(UInt32(bitPattern: node)) << 8 | UInt64(byte)
            if let next = edges[edge] {
                node = next
            } else {
                let next = Int32(ends.count)
                edges[edge] = next
                ends.append(-1)
                node = next
            }
        }
        if ends[Int(node)] < 0 { ends[Int(node)] = token }
    }

    /// The longest token that begins at `offset` and ends before `limit`.
    func longest(in bytes: [UInt8], at offset: Int, limit: Int) -> (token: Int32, end: Int)? {
        guard begins[Int(bytes[offset])] else { return nil }
        var found: (token: Int32, end: Int)?
        var node: Int32 = 0
        var index = offset
        while index < limit, let next = edges[UInt64(UInt32(bitPattern: node)) << 8 | UInt64(bytes[index])] {
            node = next
            index += 1
            if ends[Int(node)] >= 0 { found = (ends[Int(node)], index) }
        }
        return found
    }
}
