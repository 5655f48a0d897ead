// SPDX-License-Identifier: Apache-2.0
import CNATLab
import Glibc
import Wire

/// A cable between two namespaces that delays and loses: two TAP devices, and a thread that carries frames from one to
/// the other through emulated links.
final class KernelLink: Sendable {
    private let descriptors: (inner: Int32, outer: Int32)
    private let carrier: PacketCarrier

    /// Makes both devices, which are down and have no addresses.
    init(
        inner: (name: String, namespace: NetworkNamespace), outer: (name: String, namespace: NetworkNamespace),
        _ link: KernelNetwork.Link
    ) throws {
        let first = try KernelLink.device(inner.name, in: inner.namespace)
        var second: Int32 = -1
        do {
            second = try KernelLink.device(outer.name, in: outer.namespace)
            carrier = try PacketCarrier(
                near: first, far: second, forward: link.up, backward: link.down, entropy: Entropy(seed: link.seed))
        } catch {
            close(first)
            if second >= 0 { close(second) }
            throw error
        }
        descriptors = (first, second)
    }

    deinit {
        carrier.stop()
        close(descriptors.inner)
        close(descriptors.outer)
    }

    /// Changes what becomes of frames that come in from now on.
    func setConditions(up: LinkConditions, down: LinkConditions) { carrier.setConditions(forward: up, backward: down) }

    private static func device(_ name: String, in namespace: NetworkNamespace) throws -> Int32 {
        try namespace.enter {
            let descriptor = cnatlab_make_tap(name)
            guard descriptor >= 0 else { throw KernelLabError.last("making a TAP device") }
            return descriptor
        }
    }
}
