// SPDX-License-Identifier: Apache-2.0

extension NATMatrix {
    /// Has every profile meet every other on virtual time.
    public static func simulate(
        _ profiles: [NATProfile], title: String, configuration: Encounter.Configuration = .init()
    ) -> NATMatrix {
        var matrix = NATMatrix(title: title, profiles: profiles.map(\.name))
        for row in profiles.indices {
            for column in profiles.indices {
                matrix[row, column] = Encounter(profiles[row], profiles[column], configuration: configuration).run()
            }
        }
        return matrix
    }

    /// A number that is the same for two matrices whose every packet was the same, and hardly ever for others.
    public var digest: UInt64 {
        // FNV-1a, as in the encounters' digests.
        results.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ $1.result.digest) &* 0x0000_0100_0000_01B3 }
    }
}
