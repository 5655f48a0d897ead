// SPDX-License-Identifier: Apache-2.0
import CNATLab
import Glibc

/// A TUN device in a namespace: what the kernel sends through it is read here, and what is written here the kernel receives.
///
/// It carries bare IPv4 packets of at most its MTU. Offloads are off, so that trains (UDP_SEGMENT, TSO) are cut by the
/// kernel before they come out.
final class TUNDevice: Sendable {
    let descriptor: Int32
    let name: String
    private let namespace: NetworkNamespace

    /// Packets that the kernel may queue while nobody reads: 50 ms of small packets at a gigabit.
    private static let queueLength: Int32 = 10_000

    /// Makes the device, gives it an address in a network of 24 bits, and sets it up.
    init(_ name: String, address: UInt32, mtu: Int, in namespace: NetworkNamespace) throws {
        let descriptor = try namespace.enter {
            let descriptor = cnatlab_make_tun(name)
            guard descriptor >= 0 else { throw KernelLabError.last("making a TUN device") }
            // Router solicitations are not what is measured. Kernels without IPv6 lack the file.
            try? TUNDevice.write("1", to: "/proc/sys/net/ipv6/conf/\(name)/disable_ipv6")
            guard cnatlab_configure(name, address, 0xFFFF_FF00, Int32(mtu), TUNDevice.queueLength) == 0 else {
                let error = KernelLabError.last("setting a TUN device up")
                close(descriptor)
                throw error
            }
            return descriptor
        }
        self.descriptor = descriptor
        self.name = name
        self.namespace = namespace
    }

    deinit { close(descriptor) }

    /// Packets that the kernel dropped because nobody read them in time; a measurement that has some tells of the machine.
    var missed: Int {
        let text = try? namespace.enter { try TUNDevice.read("/proc/thread-self/net/dev") }
        for line in (text ?? "").split(separator: "\n") {
            let fields = line.split { $0 == " " || $0 == ":" }
            // proc_net_dev(5): eight numbers of receiving, then bytes, packets, errors and drops of sending.
            if fields.count > 12, fields[0] == name { return Int(fields[12]) ?? 0 }
        }
        return 0
    }

    private static func read(_ path: String) throws -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw KernelLabError.last("opening \(path)") }
        defer { close(file) }
        return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
            let count = Glibc.read(file, buffer.baseAddress, buffer.count)
            return String(decoding: buffer[..<max(0, count)], as: UTF8.self)
        }
    }

    /// Writes a kernel parameter of the namespace that the calling thread is in.
    static func write(_ value: String, to path: String) throws {
        let file = open(path, O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { throw KernelLabError.last("opening \(path)") }
        defer { close(file) }
        let bytes = Array(value.utf8)
        guard Glibc.write(file, bytes, bytes.count) == bytes.count else { throw KernelLabError.last("writing \(path)") }
    }
}
