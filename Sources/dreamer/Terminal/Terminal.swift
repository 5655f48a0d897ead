// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The program's three streams: results on standard output, progress and complaints on standard error.
enum Terminal {
    /// Whether standard error is a terminal, so that a progress line may rewrite itself.
    static let isInteractive = isatty(STDERR_FILENO) == 1

    /// How many columns the terminal has, 80 where that is unknown.
    static var columns: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Writes a line of results.
    static func output(_ line: String) { write(line + "\n", to: STDOUT_FILENO) }

    /// Writes results as they are; whether all of it was taken, else `errno` says why not.
    @discardableResult
    static func outputText(_ text: String) -> Bool { write(text, to: STDOUT_FILENO) }

    /// Writes a line of progress or a complaint.
    static func note(_ line: String) { write((isInteractive ? "\r\u{1B}[K" : "") + line + "\n", to: STDERR_FILENO) }

    /// Rewrites the progress line; only on a terminal.
    static func status(_ line: String) { write("\r\u{1B}[K" + line, to: STDERR_FILENO) }

    @discardableResult
    private static func write(_ text: String, to descriptor: Int32) -> Bool {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                return false
            }
            bytes = bytes.dropFirst(written)
        }
        return true
    }
}
