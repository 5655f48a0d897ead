// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// A STUN server with the NAT behavior discovery of RFC 5780 §6, and with faults as a test wants them.
struct ScriptedServer {
    /// What it does with CHANGE-REQUEST.
    enum ChangeRequests {
        case honoured
        case refused
        /// It answers from where it was asked.
        case ignored
        /// It sends nothing.
        case dropped
    }

    var primary = address("192.0.2.10:3478")
    var secondary: SocketAddress? = address("203.0.113.20:3479")
    /// What it names as OTHER-ADDRESS instead of the truth.
    var namesOther: SocketAddress?
    var changeRequests = ChangeRequests.honoured
    var supportsResponsePort = true
    var isSilent = false
    /// Endpoints that receive nothing.
    var dead: Set<SocketAddress> = []
    /// What it says to everything.
    var refusal: STUNErrorCode?
    /// Changes the address that it tells.
    var mapped: (SocketAddress) -> SocketAddress = { $0 }
    var omitsMapped = false
    /// Other servers, that only answer.
    var others: Set<SocketAddress> = []

    private var endpoints: Set<SocketAddress> {
        guard let secondary else { return [primary] }
        return [
            primary, secondary, SocketAddress(ip: primary.ip, port: secondary.port),
            SocketAddress(ip: secondary.ip, port: primary.port),
        ]
    }

    /// Its answers to a packet.
    func answers(to payload: [UInt8], from source: SocketAddress, at destination: SocketAddress) -> [Datagram] {
        guard let request = try? decode(payload), request.messageClass == .request else { return [] }
        if others.contains(destination) {
            return [reply(to: request, from: destination, to: source, mapped: source, other: nil)]
        }
        guard !isSilent, endpoints.contains(destination), !dead.contains(destination) else { return [] }
        if let refusal { return [refuse(request, refusal, [], from: destination, to: source)] }
        let changes = request.first(.changeRequest).map { $0.last ?? 0 } ?? 0
        let other = secondary.map { secondary in
            SocketAddress(
                ip: destination.ip == primary.ip ? secondary.ip : primary.ip,
                port: destination.port == primary.port ? secondary.port : primary.port)
        }
        var origin = destination
        if request.first(.changeRequest) != nil {
            switch changeRequests {
            case .dropped: return []
            case .ignored: break
            case .refused: return [refuse(request, .unknownAttribute, [.changeRequest], from: destination, to: source)]
            case .honoured:
                guard let other else {
                    return [refuse(request, .unknownAttribute, [.changeRequest], from: destination, to: source)]
                }
                if changes & 4 != 0 { origin.ip = other.ip }
                if changes & 2 != 0 { origin.port = other.port }
            }
        }
        var target = source
        if let port = request.first(.responsePort), port.count == 4 {
            guard supportsResponsePort else {
                return [refuse(request, .unknownAttribute, [.responsePort], from: destination, to: source)]
            }
            target.port = UInt16(port[0]) << 8 | UInt16(port[1])
        }
        return [reply(to: request, from: origin, to: target, mapped: mapped(source), other: namesOther ?? other)]
    }

    private func reply(
        to request: STUNMessage, from origin: SocketAddress, to target: SocketAddress, mapped: SocketAddress,
        other: SocketAddress?
    ) -> Datagram {
        var message = STUNMessage(.success, transactionID: request.transactionID)
        if !omitsMapped {
            message.attributes.append(STUNAttribute(.mappedAddress, Self.value(mapped)))
            message.append(xorAddress: mapped)
        }
        message.attributes.append(STUNAttribute(.responseOrigin, Self.value(origin)))
        if let other { message.attributes.append(STUNAttribute(.otherAddress, Self.value(other))) }
        return Datagram(source: origin, destination: target, payload: message.encoded())
    }

    private func refuse(
        _ request: STUNMessage, _ error: STUNErrorCode, _ unknown: [STUNAttribute.Kind], from origin: SocketAddress,
        to target: SocketAddress
    ) -> Datagram {
        var message = STUNMessage(.error, transactionID: request.transactionID)
        message.append(error)
        if !unknown.isEmpty { message.append(unknown: unknown) }
        return Datagram(source: origin, destination: target, payload: message.encoded())
    }

    /// An address as MAPPED-ADDRESS has it (RFC 8489 §14.1).
    static func value(_ address: SocketAddress) -> [UInt8] {
        [0, address.ip.family == .v4 ? 1 : 2, UInt8(address.port >> 8), UInt8(address.port & 255)] + address.ip.bytes
    }
}
