// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A certificate for localhost and 127.0.0.1 that nobody should trust, valid from 2020 to 2120, and its key.
enum TestCertificate {
    static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBbDCCAROgAwIBAgIBATAKBggqhkjOPQQDAjAXMRUwEwYDVQQDDAxkcmVhbWVy
        IHRlc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBcxFTATBgNV
        BAMMDGRyZWFtZXIgdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABF1YfrM4
        wJCBxt9wDjgoSyx8GEvx4maBlcaBvWrYmAAW8Z0vbqoNyr++zvHAdv3beE+R6eyb
        2ILbvN65Y74GBEmjTjBMMA8GA1UdEwEB/wQFMAMBAf8wGgYDVR0RBBMwEYIJbG9j
        YWxob3N0hwR/AAABMB0GA1UdDgQWBBT+wG/Hvs8JiJMygbneBtZg14gOMDAKBggq
        hkjOPQQDAgNHADBEAiBQxhh1JQCgCV+TtZqh6RHlPpsSZIuefpGj3vN3hiunZwIg
        Kltqup/f2ls4SsaEjUMIqq8d8XDImlrbTO5qiw/lo9g=
        -----END CERTIFICATE-----
        """
    static let key = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgh525bPenEzHfDIRE
        xamJJgrBi0Q+6SGs8z+NEBKEYb+hRANCAARdWH6zOMCQgcbfcA44KEssfBhL8eJm
        gZXGgb1q2JgAFvGdL26qDcq/vs7xwHb923hPkensm9iC27zeuWO+BgRJ
        -----END PRIVATE KEY-----
        """

    /// Runs `body` with the paths of two files that hold certificate and key.
    static func withFiles(_ body: (_ certificate: String, _ key: String) async throws -> Void) async throws {
        let folder = "/tmp/dreamer-signaling-\(UInt64.random(in: 0...UInt64.max))"
        let paths = [folder + ".crt", folder + ".key"]
        for (path, text) in zip(paths, [certificate, key]) {
            try Data((text + "\n").utf8).write(to: URL(filePath: path))
        }
        defer { for path in paths { try? FileManager.default.removeItem(atPath: path) } }
        try await body(paths[0], paths[1])
    }
}
