// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension NATMatrix {
    /// A page that needs nothing else: the matrices as heat maps, what a cell says under the pointer, and for one pair
    /// the packets as a sequence diagram.
    public static func page(_ matrices: [NATMatrix], diagram: SequenceDiagram? = nil) -> String {
        let title = matrices.first?.title ?? "NAT matrix"
        var html = """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width">
            <title>\(escaped(title))</title>
            <style>
            :root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
            body { margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
            table { border-collapse: collapse; margin: 1rem 0 2rem; }
            th { font-weight: 500; text-align: right; padding: 0.2rem 0.5rem; white-space: nowrap; }
            thead th { vertical-align: bottom; writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
            td { width: 3.2rem; height: 1.9rem; text-align: center; border: 1px solid #8884; color: #111;
                 font-variant-numeric: tabular-nums; }
            td.none { background: none; }
            td.failed { background: #e06c75; }
            .key span { display: inline-block; padding: 0 0.6rem; margin-right: 0.6rem; color: #111; }
            svg text { font: 12px ui-monospace, monospace; fill: currentColor; }
            figure { overflow-x: auto; margin: 0; }
            </style>
            </head>
            <body>

            """
        for matrix in matrices { html += matrix.section }
        if let diagram { html += "<h2>\(escaped(diagram.title))</h2>\n<figure>\(diagram.svg)</figure>\n" }
        return html + "</body>\n</html>\n"
    }

    private var section: String {
        var html = "<h2>\(Self.escaped(title))</h2>\n"
        html += "<p>Rows offer, columns answer; milliseconds from both descriptions known to both sides able to send. "
        html += "\(count(.direct)) direct, \(count(.relayed)) relayed, \(count(.failed)) not connected.</p>\n"
        html += "<p class=\"key\"><span style=\"background:\(Self.color(.direct, 0))\">direct, fast</span>"
        html += "<span style=\"background:\(Self.color(.direct, 1))\">direct, slow</span>"
        html += "<span style=\"background:\(Self.color(.relayed, 0))\">through a relay</span>"
        html += "<span style=\"background:#e06c75\">not at all</span></p>\n<table>\n<thead><tr><th></th>"
        for name in profiles { html += "<th>\(Self.escaped(name))</th>" }
        html += "</tr></thead>\n<tbody>\n"
        for row in profiles.indices {
            html += "<tr><th>\(Self.escaped(profiles[row]))</th>"
            for column in profiles.indices { html += cell(row, column) }
            html += "</tr>\n"
        }
        return html + "</tbody>\n</table>\n"
    }

    private func cell(_ row: Int, _ column: Int) -> String {
        guard let result = self[row, column] else { return "<td class=\"none\"></td>" }
        var words = ["\(profiles[row]) → \(profiles[column]): \(result.outcome.rawValue) \(result.pair)"]
        words.append("\(result.packets) packets, \(result.bytes) bytes")
        words += result.causes.map(\.text)
        let hint = Self.escaped(words.joined(separator: "\n"))
        guard result.outcome != .failed else { return "<td class=\"failed\" title=\"\(hint)\">–</td>" }
        let seconds = Double(result.timeToConnect?.nanoseconds ?? 0) / 1e9
        let color = Self.color(result.outcome, min(1, seconds / Self.slow))
        return "<td style=\"background:\(color)\" title=\"\(hint)\">\(Self.escaped(result.cell))</td>"
    }

    /// What counts as slow, in seconds.
    private static let slow = 1.0

    /// From green to yellow, and from blue to violet for relays.
    private static func color(_ outcome: EncounterResult.Outcome, _ slowness: Double) -> String {
        let hue = outcome == .relayed ? 205 + Int(60 * slowness) : 135 - Int(85 * slowness)
        return "hsl(\(hue) 55% 65%)"
    }

    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
        return result
    }
}

/// Packets between places, from top to bottom.
public struct SequenceDiagram: Hashable, Sendable {
    /// What stands over it.
    public var title: String
    /// The places, from left to right.
    public var places: [String]
    /// The packets in order.
    public var steps: [EncounterResult.Step]

    /// The diagram of an encounter whose steps were recorded. Places that no packet came to are left out.
    public init(title: String, _ result: EncounterResult) {
        self.title = title
        steps = result.steps
        let used = Set(steps.flatMap { [$0.from, $0.to] })
        places = result.places.filter { used.contains($0) }
    }

    /// How many packets are drawn; what comes after is told as a number.
    private static let limit = 400

    /// The diagram as SVG, in the colour of the text around it.
    public var svg: String {
        let (left, column, row, top) = (110, 190, 22, 40)
        let shown = steps.prefix(Self.limit)
        let height = top + row * (shown.count + 2)
        let width = left + column * max(places.count - 1, 1) + 320
        func x(_ place: String) -> Int { left + column * (places.firstIndex(of: place) ?? 0) }
        var svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(width)\" height=\"\(height)\" "
        svg += "viewBox=\"0 0 \(width) \(height)\" stroke=\"currentColor\">\n"
        for place in places {
            svg += "<text stroke=\"none\" text-anchor=\"middle\" x=\"\(x(place))\" y=\"18\">\(NATMatrix.escaped(place))</text>"
            svg += "<line x1=\"\(x(place))\" x2=\"\(x(place))\" y1=\"26\" y2=\"\(height)\" stroke-opacity=\"0.3\"/>\n"
        }
        let start = steps.first?.time ?? .zero
        for (index, step) in shown.enumerated() {
            let y = top + row * index
            let (from, to) = (x(step.from), x(step.to))
            let time = Double((step.time - start).nanoseconds) / 1e6
            svg += "<text stroke=\"none\" text-anchor=\"end\" x=\"\(left - 30)\" y=\"\(y + 4)\">\(rounded(time)) ms</text>"
            let color = step.dropped == nil ? "" : " stroke=\"#d0404a\" stroke-dasharray=\"4 3\""
            svg += "<line x1=\"\(from)\" x2=\"\(to)\" y1=\"\(y)\" y2=\"\(y)\"\(color)/>"
            let tip = to >= from ? -6 : 6
            svg += "<path fill=\"none\" d=\"M\(to + tip) \(y - 4)L\(to) \(y)L\(to + tip) \(y + 4)\"\(color)/>"
            let label = step.label + (step.dropped.map { " ✕ \($0)" } ?? "")
            svg += "<text stroke=\"none\" x=\"\(min(from, to) + 8)\" y=\"\(y - 4)\">\(NATMatrix.escaped(label))</text>\n"
        }
        if steps.count > shown.count {
            let y = top + row * shown.count
            svg += "<text stroke=\"none\" x=\"\(left)\" y=\"\(y)\">and \(steps.count - shown.count) more</text>\n"
        }
        return svg + "</svg>"
    }

    private func rounded(_ milliseconds: Double) -> String {
        let tenths = Int((milliseconds * 10).rounded())
        return "\(tenths / 10).\(abs(tenths) % 10)"
    }
}
