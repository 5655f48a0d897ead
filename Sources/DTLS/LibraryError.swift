// SPDX-License-Identifier: Apache-2.0

private import COpenSSL

/// Reading OpenSSL's queue of errors, which is one for each thread.
enum LibraryError {
    /// What the oldest queued error says, in OpenSSL's words; empties the queue.
    static func take() -> (code: UInt, text: String) {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return (0, "no reason given") }
        if let reason = ERR_reason_error_string(code) { return (code, String(cString: reason)) }
        return (code, "error \(String(code, radix: 16))")
    }

    /// The alert that an error stands for when the peer sent one: reasons from 1000 on (SSL_AD_REASON_OFFSET).
    static func alert(of code: UInt) -> UInt8? {
        // ERR_GET_REASON: the lower 23 bits.
        let reason = Int(code & 0x7F_FFFF)
        return (1000...1255).contains(reason) ? UInt8(reason - 1000) : nil
    }
}
