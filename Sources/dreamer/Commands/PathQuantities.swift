// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NATLab
import Wire

// What describes a path on the command line.

/// A length of time: `50ms`, `1.5s`, `200us`.
struct TimeSpan: ExpressibleByArgument {
    let duration: Duration

    init?(argument: String) {
        let factors: [String: Double] = ["us": 1e3, "ms": 1e6, "s": 1e9]
        guard let (value, suffix) = Units.split(argument), let factor = factors[suffix], value * factor < 1e15 else {
            return nil
        }
        duration = .nanoseconds(Int64(value * factor))
    }
}

/// A rate: `200mbit`, `1gbit`, `25MB/s`.
struct LinkRate: ExpressibleByArgument {
    let bytesPerSecond: Int

    /// A good line to a home: 200 Mbit/s.
    static let usual = LinkRate(bytesPerSecond: 25_000_000)

    private init(bytesPerSecond: Int) { self.bytesPerSecond = bytesPerSecond }

    init?(argument: String) {
        let factors: [String: Double] = [
            "kbit": 125, "mbit": 125_000, "gbit": 125_000_000, "kb/s": 1e3, "mb/s": 1e6, "gb/s": 1e9,
        ]
        guard let (value, suffix) = Units.split(argument), let factor = factors[suffix] else { return nil }
        let rate = value * factor
        guard rate >= 1000, rate <= 1e9 else { return nil }
        bytesPerSecond = Int(rate)
    }

    var defaultValueDescription: String { "\(bytesPerSecond / 125_000)mbit" }
}

/// A share: `0.1%`, `0.001`.
struct Share: ExpressibleByArgument {
    let value: Double

    init?(argument: String) {
        guard let (number, suffix) = Units.split(argument), suffix.isEmpty || suffix == "%" else { return nil }
        value = suffix == "%" ? number / 100 : number
        guard value < 1 else { return nil }
    }
}

/// The size of a queue: in products of bandwidth and delay (`1bdp`), in time at the link's rate (`20ms`), or in bytes
/// (`250KB`).
enum QueueSize: ExpressibleByArgument {
    case products(Double)
    case time(Duration)
    case bytes(Int)

    init?(argument: String) {
        if let (value, suffix) = Units.split(argument), suffix == "bdp", value < 1000 {
            self = .products(value)
        } else if let span = TimeSpan(argument: argument) {
            self = .time(span.duration)
        } else if let bytes = Units.parseBytes(argument) {
            self = .bytes(bytes)
        } else {
            return nil
        }
    }

    var defaultValueDescription: String {
        switch self {
        case .products(let count): "\(Units.fixed(count, 0))bdp"
        case .time(let duration): "\(Units.fixed(duration.seconds * 1000, 0))ms"
        case .bytes(let count): ByteCount(count).defaultValueDescription
        }
    }

    /// The size in bytes; at least two packets fit.
    func bytes(rate: Int, roundTrip: Duration) -> Int {
        let bytes =
            switch self {
            case .products(let count): count * Double(rate) * roundTrip.seconds
            case .time(let duration): Double(rate) * duration.seconds
            case .bytes(let count): Double(count)
            }
        return max(3000, Int(bytes))
    }
}

extension Units {
    /// A number and the letters behind it, in lower case; `nil` for what does not begin with a number.
    static func split(_ text: String) -> (value: Double, suffix: String)? {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let value = Double(digits) else { return nil }
        return (value, text[digits.endIndex...].filter { $0 != " " }.lowercased())
    }
}
