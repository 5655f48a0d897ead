// SPDX-License-Identifier: Apache-2.0
import DTLS
import Glibc

/// A PEM file with a certificate and its private key, which makes this side the same to others from run to run.
enum CertificateFile {
    /// How long a certificate is valid that is made for a file. Peers go by its fingerprint.
    private static let days = 3650
    /// More than any key and certificate need.
    private static let longest = 65_536

    /// Reads the file; where there is none, makes one for its owner alone.
    static func load(_ path: String) throws -> DTLSCertificate {
        do {
            guard let text = try read(path) else { return try make(path) }
            return try DTLSCertificate(pem: text)
        } catch let error as DTLSError {
            throw CommandFailure("--certificate \(path): \(error)")
        }
    }

    private static func make(_ path: String) throws -> DTLSCertificate {
        let certificate = try DTLSCertificate.generate(days: days)
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure(path) }
        defer { close(descriptor) }
        let bytes = Array(certificate.pem.utf8)
        guard bytes.withUnsafeBytes({ write(descriptor, $0.baseAddress, $0.count) }) == bytes.count else {
            let failure = failure(path)
            unlink(path)
            throw failure
        }
        return certificate
    }

    /// What the file holds, `nil` if there is none.
    private static func read(_ path: String) throws -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw failure(path)
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: longest)
        let count = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
        guard count >= 0 else { throw failure(path) }
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    private static func failure(_ path: String) -> CommandFailure {
        CommandFailure("--certificate \(path): \(String(cString: strerror(errno)))")
    }
}
