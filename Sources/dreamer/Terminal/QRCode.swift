// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Text as a QR code of block characters, by libqrencode. The library is looked for when it is first needed, so that
/// the program runs without it.
struct QRCode {
    /// As `QRcode` in qrencode.h.
    private struct Symbol {
        var version: Int32
        var width: Int32
        var data: UnsafeMutablePointer<UInt8>?
    }

    /// Lines to print: two rows of modules a line, dark on light, with a quiet zone around.
    let lines: [String]

    /// Draws `text`.
    init(_ text: String) throws {
        guard let library = dlopen("libqrencode.so.4", RTLD_NOW),
            let encodeSymbol = dlsym(library, "QRcode_encodeString8bit"), let freeSymbol = dlsym(library, "QRcode_free")
        else {
            throw CommandFailure("QR codes need libqrencode, which is not installed (apt-get install libqrencode4)")
        }
        typealias Encode = @convention(c) (UnsafePointer<CChar>, Int32, Int32) -> UnsafeMutableRawPointer?
        typealias Free = @convention(c) (UnsafeMutableRawPointer) -> Void
        // Version 0: as small as fits; level 0 (L) holds most.
        guard let raw = unsafeBitCast(encodeSymbol, to: Encode.self)(text, 0, 0) else {
            throw CommandFailure("the text is too long for a QR code (\(text.utf8.count) bytes of at most 2953)")
        }
        defer { unsafeBitCast(freeSymbol, to: Free.self)(raw) }
        let symbol = raw.assumingMemoryBound(to: Symbol.self).pointee
        let width = Int(symbol.width)
        func isDark(_ x: Int, _ y: Int) -> Bool {
            guard (0..<width).contains(x), (0..<width).contains(y), let data = symbol.data else { return false }
            return data[y * width + x] & 1 == 1
        }
        let quiet = 2
        lines = stride(from: -quiet, to: width + quiet, by: 2).map { y in
            "\u{1B}[30;47m"
                + (-quiet..<width + quiet).map { x in
                    switch (isDark(x, y), isDark(x, y + 1)) {
                    case (true, true): "█"
                    case (true, false): "▀"
                    case (false, true): "▄"
                    case (false, false): " "
                    }
                }.joined() + "\u{1B}[0m"
        }
    }
}
