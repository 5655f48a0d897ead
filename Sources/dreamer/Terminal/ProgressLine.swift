// SPDX-License-Identifier: Apache-2.0

/// A bar on a terminal that redraws itself, and off one a plain line now and then.
struct ProgressLine {
    /// What a line shows.
    struct Reading {
        /// Bytes that are there and verified, of how many.
        var done: Int
        /// How many there will be, `nil` while unknown.
        var total: Int?
        /// Bytes a second, lately.
        var rate: Double
        /// What else is to be said, in order: peers, bytes from each source.
        var details: [String] = []
    }

    private let label: String
    private var lastPlainPercent = -1
    private var lastPlainTime = -Double.infinity

    /// A line that begins with `label`.
    init(label: String) {
        self.label = label
    }

    /// Shows a reading taken at `seconds` on any clock. Off a terminal a line appears every tenth of the way, and after 5 s.
    mutating func show(_ reading: Reading, at seconds: Double) {
        let text = ([share(reading), Units.rate(reading.rate)] + reading.details + timeLeft(reading)).joined(
            separator: "  ")
        if Terminal.isInteractive {
            Terminal.status(fit(bar(reading), text))
            return
        }
        let percent = reading.total.map { $0 > 0 ? reading.done * 100 / $0 : 100 } ?? 0
        guard percent / 10 != lastPlainPercent / 10 || seconds - lastPlainTime >= 5 else { return }
        lastPlainPercent = percent
        lastPlainTime = seconds
        Terminal.note("\(label)  \(text)")
    }

    /// Takes the bar off the terminal.
    func clear() {
        if Terminal.isInteractive { Terminal.status("") }
    }

    private func share(_ reading: Reading) -> String {
        guard let total = reading.total else { return Units.bytes(reading.done) }
        let percent = total > 0 ? Double(reading.done) * 100 / Double(total) : 100
        // Rounded down: 100 % means that all of it is there.
        return
            "\(Units.fixed((percent * 10).rounded(.down) / 10, 1)) %  \(Units.bytes(reading.done)) of \(Units.bytes(total))"
    }

    private func timeLeft(_ reading: Reading) -> [String] {
        guard let total = reading.total, reading.done < total else { return [] }
        guard reading.rate > 0 else { return ["--:-- left"] }
        return ["\(Units.duration(Double(total - reading.done) / reading.rate)) left"]
    }

    private func bar(_ reading: Reading) -> String {
        guard let total = reading.total else { return label }
        let width = 20
        let filled = total > 0 ? min(width, reading.done * width / total) : width
        return "\(label) [" + String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
            + "]"
    }

    private func fit(_ bar: String, _ text: String) -> String {
        let line = "\(bar) \(text)"
        return String((line.count < Terminal.columns ? line : "\(label) \(text)").prefix(Terminal.columns - 1))
    }
}
