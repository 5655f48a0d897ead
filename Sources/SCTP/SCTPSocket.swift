// SPDX-License-Identifier: Apache-2.0
internal import CUSRSCTP

/// Owns a socket of usrsctp with the handle and the outbox that belong to it.
///
/// It is freed in this order: the socket, so that no call can reach it; the address, so that no packet is made for it;
/// the slot, so that a late packet finds no owner.
final class SCTPSocket {
    /// Names the association.
    let handle: SCTPHandle
    /// Where its packets are left.
    let outbox: SCTPOutbox
    /// usrsctp's socket, `nil` once closed.
    private(set) var pointer: OpaquePointer?

    /// Opens, sets up and binds a socket.
    init(configuration: SCTPAssociation.Configuration) throws(SCTPError) {
        (handle, outbox) = try SCTPRuntime.shared.register(configuration)
        do {
            pointer = try SCTPRuntime.shared.open(handle: handle, configuration: configuration)
        } catch {
            SCTPRuntime.shared.release(handle, deregistering: true)
            throw error
        }
    }

    deinit {
        close()
        SCTPRuntime.shared.release(handle, deregistering: false)
    }

    /// Closes at once; with lingering off usrsctp sends an ABORT where the peer knows of the association.
    func close() {
        guard let pointer else { return }
        self.pointer = nil
        SCTPRuntime.shared.close(pointer, of: handle)
    }
}
