// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Wire

extension cnetio_address {
    init(_ ip: IPAddress, port: UInt16 = 0) {
        self.init(high: ip.high, low: ip.low, scope: ip.scopeID, port: port, is_v6: ip.family == .v6 ? 1 : 0)
    }

    init(_ address: SocketAddress) {
        self.init(address.ip, port: address.port)
    }

    var ip: IPAddress {
        is_v6 != 0 ? .v6(high: high, low: low, scopeID: scope) : .v4(UInt32(truncatingIfNeeded: low))
    }
}

extension SocketAddress {
    init(_ address: cnetio_address) {
        self.init(ip: address.ip, port: address.port)
    }
}
