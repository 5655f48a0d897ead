// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension PCAPNG {
    /// A capture of what was observed in a network, with an interface for each place and a comment at each packet that ended.
    /// `keyLog` decrypts DTLS, as in a file that SSLKEYLOGFILE names.
    public init(
        _ observations: [PacketObservation], in network: VirtualNetwork, epoch: Int64 = 0, keyLog: [UInt8] = []
    ) {
        self.init(epoch: epoch)
        var interfaces: [PacketObservation.Place: Int] = [:]
        for observation in observations where interfaces[observation.place] == nil {
            interfaces[observation.place] = addInterface(network.name(at: observation.place))
        }
        if !keyLog.isEmpty { addSecrets(keyLog: keyLog) }
        for observation in observations {
            guard let interface = interfaces[observation.place] else { continue }
            let datagram = Datagram(
                source: observation.source, destination: observation.destination, payload: observation.payload)
            let comment: String? =
                switch observation.action {
                case .dropped(let drop): "dropped: \(drop)"
                case .refused(let drop): "refused: \(drop)"
                case .hairpinned: "hairpinned"
                case .error: "ICMP error about a packet that went the other way"
                case .sent, .passed, .arrived: nil
                }
            add(
                datagram, at: observation.time, interface: interface,
                timeToLive: UInt8(clamping: observation.timeToLive), comment: comment)
        }
    }
}

extension VirtualNetwork {
    /// What a place is called: `router, outside`.
    public func name(at place: PacketObservation.Place) -> String {
        switch place {
        case .host(let id): name(of: .host(id))
        case .inside(let id): "\(name(of: .nat(id))), inside"
        case .outside(let id): "\(name(of: .nat(id))), outside"
        case .internet: "internet"
        case .uplink(let element): "\(name(of: element)), link up"
        case .downlink(let element): "\(name(of: element)), link down"
        }
    }
}
