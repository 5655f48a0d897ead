// SPDX-License-Identifier: Apache-2.0
import NetIO
import Synchronization

// MARK: - What channels call

extension PeerConnection {
    func send(
        on channel: PeerCore.ChannelKey, isText: Bool, count: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(PeerConnectionError) {
        try guarded.withLock { (state) throws(PeerConnectionError) in
            try state.core.send(on: channel, isText: isText, count: count, fill)
        }
        process()
    }

    func bufferedAmount(of channel: PeerCore.ChannelKey) -> Int {
        guarded.withLock { $0.core.bufferedAmount(of: channel) }
    }

    func setLowThreshold(_ bytes: Int, of channel: PeerCore.ChannelKey) {
        guarded.withLock { $0.core.setLowThreshold(bytes, of: channel) }
    }

    func closeChannel(_ channel: PeerCore.ChannelKey) {
        guarded.withLock { $0.core.closeChannel(channel) }
        process()
    }

    func resumeReading() {
        guarded.withLock { $0.readingPaused = false }
        endpoint.loop.execute { [self] in process() }
    }
}
