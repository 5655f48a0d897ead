// SPDX-License-Identifier: Apache-2.0
internal import CUSRSCTP
internal import Synchronization
public import Wire

/// usrsctp, which exists once in a process: its start, its timers, and the table of its associations.
///
/// One lock is held around every call of usrsctp. The library has locks of its own, but threads that send, receive and
/// run timers at once have stalled and deadlocked it before (a send that finds the association locked leaves its data
/// lying). Lock order: whatever guards a peer → this lock → an outbox. No caller's code runs under the last two.
public final class SCTPRuntime: Sendable {
    /// The only one. The first use starts usrsctp, without threads of its own for timers and sockets.
    public static let shared = SCTPRuntime()

    /// How often ``advance(to:)`` wants to be called: the granularity of usrsctp's own timer thread.
    public static let tickInterval: Duration = .milliseconds(10)

    /// Handles keep a slot in 16 bits.
    private static let capacity = 0x10000

    private struct State {
        /// The last time given to `advance`.
        var now: Timestamp?
        /// How many outboxes were ever made.
        var slotsMade = 0
        /// Slots that wait for reuse, with the generation their next owner gets.
        var free: [(slot: Int, generation: UInt)] = []
    }

    private let calls = CallLock(State())
    /// Associations that got something to send while timers ran. A leaf like the outboxes.
    private let touched = Mutex<[SCTPHandle]>([])
    private let isAdvancing = Atomic(false)
    /// The outbox of each slot, written once before the slot's first handle is known to anyone, and never freed.
    private nonisolated(unsafe) let outboxes: UnsafeMutablePointer<Unmanaged<SCTPOutbox>?>

    private init() {
        outboxes = .allocate(capacity: Self.capacity)
        outboxes.initialize(repeating: nil, count: Self.capacity)
        cusrsctp_init(sctpOutput)
        usrsctp_enable_crc32c_offload()
        SCTPRuntime.applyDefaults()
    }

    /// Runs the timers that fall due until `now` and answers which associations have packets to send or something to
    /// read since. Call it every ``tickInterval``; time that goes back counts as no time.
    public func advance(to now: Timestamp) -> [SCTPHandle] {
        calls.withLock { state in
            let elapsed = max(0, (now.nanoseconds - (state.now ?? now).nanoseconds) / 1_000_000)
            guard let last = state.now, now >= last else {
                state.now = now
                return []
            }
            guard elapsed > 0 else { return [] }
            // The rest of a millisecond is kept for the next call.
            state.now = Timestamp(nanoseconds: last.nanoseconds + elapsed * 1_000_000)
            isAdvancing.store(true, ordering: .relaxed)
            usrsctp_handle_timers(UInt32(clamping: elapsed))
            isAdvancing.store(false, ordering: .relaxed)
            return touched.withLock { handles in
                let result = handles
                handles.removeAll(keepingCapacity: true)
                return result
            }
        }
    }

    /// Lets the C library keep freed memory: mmap threshold 64 MiB, trim threshold 128 MiB, 1 MiB steps of the heap.
    /// usrsctp allocates and frees each packet. It changes the whole process, so a program decides, not this library.
    public static func tuneAllocator() {
        cusrsctp_tune_malloc()
    }

    /// Where packets of a batch are joined, under the lock.
    nonisolated(unsafe) let joined = UnsafeMutableRawBufferPointer.allocate(
        byteCount: PacketJoiner.capacity, alignment: 16)

    /// Makes a call of usrsctp.
    func call<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        try calls.withLock { (_) throws(Failure) in try body() }
    }

    /// A fresh handle with its outbox; usrsctp knows the handle as a local address from here on.
    func register(_ configuration: SCTPAssociation.Configuration) throws(SCTPError) -> (SCTPHandle, SCTPOutbox) {
        try calls.withLock { (state) throws(SCTPError) in
            let handle: SCTPHandle
            let outbox: SCTPOutbox
            if let (slot, generation) = state.free.popLast() {
                handle = SCTPHandle(slot: slot, generation: generation)
                outbox = self.outbox(slot: slot)!
            } else {
                guard state.slotsMade < Self.capacity else { throw .tooManyAssociations }
                handle = SCTPHandle(slot: state.slotsMade, generation: 1)
                outbox = SCTPOutbox()
                outboxes[state.slotsMade] = Unmanaged.passRetained(outbox)
                state.slotsMade += 1
            }
            outbox.state.withLock { state in
                state.reset(owner: handle, for: configuration)
            }
            usrsctp_register_address(UnsafeMutableRawPointer(bitPattern: handle.rawValue))
            return (handle, outbox)
        }
    }

    /// Opens a socket, sets it up and binds it to `handle`.
    func open(handle: SCTPHandle, configuration: SCTPAssociation.Configuration) throws(SCTPError) -> OpaquePointer {
        // A pointer is not Sendable, so it leaves the lock as a number.
        let bits = try calls.withLock { (_) throws(SCTPError) in
            UInt(bitPattern: try SCTPAssociation.open(handle: handle, configuration: configuration))
        }
        guard let pointer = OpaquePointer(bitPattern: bits) else { throw .socket(call: "usrsctp_socket", errno: 0) }
        return pointer
    }

    /// Closes the socket of `handle` and forgets its address. Packets that closing makes stay in the outbox until the
    /// slot is released.
    func close(_ socket: OpaquePointer, of handle: SCTPHandle) {
        calls.withLock { _ in
            usrsctp_close(socket)
            usrsctp_deregister_address(UnsafeMutableRawPointer(bitPattern: handle.rawValue))
        }
    }

    /// Gives the slot of `handle` back. Its socket is closed, or was never opened and its address is still known.
    func release(_ handle: SCTPHandle, deregistering: Bool) {
        calls.withLock { state in
            if deregistering { usrsctp_deregister_address(UnsafeMutableRawPointer(bitPattern: handle.rawValue)) }
            outbox(slot: handle.slot)?.state.withLock { $0.reset(owner: nil, for: nil) }
            state.free.append((handle.slot, handle.generation &+ 1))
        }
    }

    private func outbox(slot: Int) -> SCTPOutbox? {
        outboxes[slot]?.takeUnretainedValue()
    }

    /// usrsctp hands out a packet.
    fileprivate func output(_ packet: UnsafeRawBufferPointer, from handle: SCTPHandle) {
        guard let outbox = outbox(slot: handle.slot) else { return }
        if outbox.append(packet, from: handle) { touch(handle) }
    }

    /// Something happened to an association; only of interest when no call of its owner caused it.
    fileprivate func touch(_ handle: SCTPHandle) {
        guard isAdvancing.load(ordering: .relaxed) else { return }
        touched.withLock { handles in
            if handles.last != handle { handles.append(handle) }
        }
    }

    /// Has failures that timers find reported by `advance`.
    func watch(_ socket: OpaquePointer, of handle: SCTPHandle) -> Int32 {
        usrsctp_set_upcall(socket, sctpUpcall, UnsafeMutableRawPointer(bitPattern: handle.rawValue))
    }
}

extension SCTPRuntime {
    /// What is set for the whole process; the rest is set on each socket.
    private static func applyDefaults() {
        // RFC 8261 §6: no addresses are managed below DTLS, so no ASCONF (RFC 5061) and no AUTH, which only serves it.
        usrsctp_sysctl_set_sctp_asconf_enable(0)
        usrsctp_sysctl_set_sctp_auto_asconf(0)
        usrsctp_sysctl_set_sctp_auth_enable(0)
        // The bits of ECN are not visible above DTLS; the other two are experiments that no WebRTC peer has.
        usrsctp_sysctl_set_sctp_ecn_enable(0)
        usrsctp_sysctl_set_sctp_nrsack_enable(0)
        usrsctp_sysctl_set_sctp_pktdrop_enable(0)
        // RFC 8831 §6.1: partial reliability and stream reset.
        usrsctp_sysctl_set_sctp_pr_enable(1)
        usrsctp_sysctl_set_sctp_reconfig_enable(1)
        // The send buffer bounds what is queued, not a number of chunks (512 by default, 580 KB of bulk data).
        usrsctp_sysctl_set_sctp_max_chunks_on_queue(64 * 1024)
        // RFC 6928: ten segments to start with.
        usrsctp_sysctl_set_sctp_initial_cwnd(10)
        // Where a SACK lets more than this leave at once, usrsctp cuts the congestion window down to it (RFC 9260 §6.1 has
        // 4). One SACK answers all packets that came together, so the bound has to be far above that: with 10, windows
        // stayed at 10 packets. It is there for what follows a pause. Counted in bundles of packets.
        usrsctp_sysctl_set_sctp_max_burst_default(64)
    }
}

/// usrsctp's output callback.
private func sctpOutput(
    _ address: UnsafeMutableRawPointer?, _ packet: UnsafeMutableRawPointer?, _ length: Int, _ tos: UInt8,
    _ setDF: UInt8
) -> Int32 {
    guard let address, let packet else { return 0 }
    SCTPRuntime.shared.output(
        UnsafeRawBufferPointer(start: packet, count: length),
        from: SCTPHandle(rawValue: UInt(bitPattern: address)))
    return 0
}

/// usrsctp's upcall: the state of a socket changed.
private func sctpUpcall(_ socket: OpaquePointer?, _ handle: UnsafeMutableRawPointer?, _ flags: Int32) {
    guard let handle else { return }
    SCTPRuntime.shared.touch(SCTPHandle(rawValue: UInt(bitPattern: handle)))
}
