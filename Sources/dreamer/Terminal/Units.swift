// SPDX-License-Identifier: Apache-2.0

/// Quantities as people read and write them on the command line.
enum Units {
    private static let binary: [(suffix: String, factor: Double)] = [
        ("TiB", 1_099_511_627_776), ("GiB", 1_073_741_824), ("MiB", 1_048_576), ("KiB", 1024),
    ]

    /// A number of bytes: `93.8 MiB`.
    static func bytes(_ count: Int) -> String {
        for (suffix, factor) in binary where Double(count) >= factor {
            return "\(fixed(Double(count) / factor, 1)) \(suffix)"
        }
        return "\(count) B"
    }

    /// A rate in megabytes (10⁶) a second: `103.2 MB/s`.
    static func rate(_ bytesPerSecond: Double) -> String {
        bytesPerSecond < 1e6 ? "\(fixed(bytesPerSecond / 1e3, 1)) kB/s" : "\(fixed(bytesPerSecond / 1e6, 1)) MB/s"
    }

    /// A length of time: `850 ms`, `12.3 s`, `4:05`, `2:03:10`.
    static func duration(_ seconds: Double) -> String {
        if seconds < 1 { return "\(Int(seconds * 1000)) ms" }
        if seconds < 60 { return "\(fixed(seconds, 1)) s" }
        let whole = Int(seconds)
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return whole < 3600
            ? "\(whole / 60):\(two(whole % 60))" : "\(whole / 3600):\(two(whole / 60 % 60)):\(two(whole % 60))"
    }

    /// A number with so many digits after the point.
    static func fixed(_ value: Double, _ digits: Int) -> String {
        let scale = (0..<digits).reduce(1.0) { factor, _ in factor * 10 }
        let scaled = (value * scale).rounded()
        guard scaled.magnitude < 1e15 else { return "\(value)" }
        let number = Int(scaled)
        guard digits > 0 else { return "\(number)" }
        let fraction = String(number.magnitude % UInt(scale))
        return (number < 0 ? "-" : "") + "\(number.magnitude / UInt(scale))."
            + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    /// Reads a size: `64MiB`, `4 MB`, `1048576`, `500k`; `nil` for what is none, or is over 2^53.
    static func parseBytes(_ text: String) -> Int? {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let value = Double(digits), value >= 0 else { return nil }
        let factors: [String: Double] = [
            "": 1, "b": 1, "k": 1e3, "kb": 1e3, "kib": 1024, "m": 1e6, "mb": 1e6, "mib": 1_048_576, "g": 1e9, "gb": 1e9,
            "gib": 1_073_741_824, "t": 1e12, "tb": 1e12, "tib": 1_099_511_627_776,
        ]
        let suffix = text[digits.endIndex...].filter { $0 != " " }.lowercased()
        guard let factor = factors[suffix], value * factor <= 9_007_199_254_740_992 else { return nil }
        return Int(value * factor)
    }
}
