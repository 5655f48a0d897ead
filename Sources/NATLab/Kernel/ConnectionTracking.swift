// SPDX-License-Identifier: Apache-2.0
import Glibc
import Wire

/// The kernel's table of connections.
enum ConnectionTracking {
    /// linux/netlink.h and linux/netfilter/nfnetlink.h: the family of sockets, the subsystem's number beside the
    /// message's (IPCTNL_MSG_CT_DELETE), and flags (NLM_F_REQUEST, NLM_F_ACK).
    private static let netfilter: Int32 = 12
    private static let deleteMessage: UInt16 = 1 << 8 | 2
    private static let flags: UInt16 = 1 | 4

    /// Deletes all connections of the namespace that the calling thread is in.
    static func forgetAll() throws(KernelLabError) {
        let descriptor = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), netfilter)
        guard descriptor >= 0 else { throw .last("opening a netfilter socket") }
        defer { close(descriptor) }
        // struct nlmsghdr: length, type, flags, sequence, port. struct nfgenmsg: family (any), version, resource.
        var request = [UInt8](repeating: 0, count: 20)
        request.withUnsafeMutableBytes { bytes in
            bytes.storeBytes(of: 20, as: UInt32.self)
            bytes.storeBytes(of: deleteMessage, toByteOffset: 4, as: UInt16.self)
            bytes.storeBytes(of: flags, toByteOffset: 6, as: UInt16.self)
        }
        guard send(descriptor, request, request.count, 0) == request.count else { throw .last("asking netfilter") }
        var answer = [UInt8](repeating: 0, count: 4096)
        // struct nlmsgerr after the header: the error's number, negative; 0 for none.
        guard recv(descriptor, &answer, answer.count, 0) >= 20 else { throw .last("hearing from netfilter") }
        let error = answer.withUnsafeBytes { $0.load(fromByteOffset: 16, as: Int32.self) }
        guard error == 0 else { throw KernelLabError("deleting connections", code: -error) }
    }
}
