// SPDX-License-Identifier: Apache-2.0
internal import Wire

// A response in the order in which RFC 8489 §9.2.5 has it looked at:
//   401, 438 ─▶ the request again, with what they tell, or its end
//   told features missing ─▶ ignored · 400 without a proof ─▶ ignored · a wrong proof, or none ─▶ ignored, on streams the end
//   success, other errors ─▶ the request's own
extension TURNClient {
    mutating func handleResponse(_ response: STUNMessage, _ bytes: RawSpan) -> Received {
        guard response.fingerprint != .invalid,
            let index = requests.firstIndex(where: { $0.id == response.transactionID }),
            method(of: requests[index].purpose) == response.method
        else {
            counters.dropped += 1
            return .dropped
        }
        let request = requests[index]
        let code = response.messageClass == .error ? response.errorCode?.code : nil
        if !timing.hasAnswered {
            timing.hasAnswered = true
            report(.answered)
        }
        if code == 401 || code == 438 {
            requests.remove(at: index)
            challenged(request, response)
            return .handled
        }
        guard !response.lacksToldAlgorithms, isProven(response, bytes, request, code: code) else {
            counters.unauthenticated += 1
            if server.transport.isStream {
                requests.remove(at: index)
                failed(request.purpose, .integrityViolated(claimed: code))
            } else {
                requests[index].unproven = (true, code)
            }
            return .dropped
        }
        requests.remove(at: index)
        measure(request)
        // RFC 8489 §6.3.3, §6.3.4: what is not understood, or does not say what is wrong, ends the request.
        if !response.unknownRequired(known: Self.understood).isEmpty {
            failed(request.purpose, .malformed)
        } else if response.messageClass == .success {
            succeeded(request, response)
        } else {
            refused(request, response)
        }
        return .handled
    }

    /// What a response may hold that must be understood and is.
    private static let understood = ICEAgent.understood.union([
        .lifetime, .xorRelayedAddress, .xorPeerAddress, .channelNumber, .reservationToken, .requestedTransport,
    ])

    private func isProven(_ response: STUNMessage, _ bytes: RawSpan, _ request: Request, code: Int?) -> Bool {
        // A request without a proof cannot ask for one; but a 400 counts only with one, and nobody is sent to another
        // server without (RFC 8489 §14.8).
        guard let integrity = request.integrity else {
            return code != STUNErrorCode.badRequest.code && code != STUNErrorCode.tryAlternate.code
        }
        return response.isAuthentic(bytes, key: integrity.key, algorithm: integrity.algorithm)
    }

    /// RFC 8489 §6.2.1: a request that was sent once tells the round trip (RFC 6298 §2.2 with RTO = 3 R for the first).
    private mutating func measure(_ request: Request) {
        guard request.sent == 1, !server.transport.isStream else { return }
        let sample = min((clock - request.sentAt) * 3, .seconds(3))
        timing.rto = timing.rto.map { ($0 * 7 + sample) / 8 } ?? sample
    }

    // MARK: - Errors

    /// The server wants a proof, or a fresh nonce in it.
    private mutating func challenged(_ request: Request, _ response: STUNMessage) {
        let isStale = response.errorCode?.code == STUNErrorCode.staleNonce.code
        if isStale { counters.staleNonces += 1 }
        guard request.staleCount < Self.maximumStale else {
            failed(request.purpose, isStale ? .staleNonce : .unauthorized)
            return
        }
        do throws(TURNFailure) {
            try authentication.challenge(response, wasAuthenticated: request.integrity != nil)
        } catch {
            failed(request.purpose, error)
            return
        }
        send(request.purpose, staleCount: request.staleCount + 1)
    }

    private mutating func refused(_ request: Request, _ response: STUNMessage) {
        let reason = TURNFailure(response)
        switch request.purpose {
        case .allocate:
            allocationRefused(reason, response)
        case .refresh:
            end(reason)
        case .release:
            end(nil)
        case .permission(let ip):
            // RFC 8656 §5: with 437 the allocation is gone.
            if reason == .allocationMismatch { end(reason) } else { refuse(ip, reason) }
        case .channel(let index):
            channels[index].refreshAt = nil
            switch reason {
            case .allocationMismatch:
                end(reason)
            case .badRequest:
                // RFC 8656 §12.3: the two sides do not mean the same channels any more.
                abandon(because: reason)
            default:
                break
            }
        }
    }

    private mutating func allocationRefused(_ reason: TURNFailure, _ response: STUNMessage) {
        switch reason {
        case _ where families == .both && Self.mayConcernFamilies(reason):
            // A wish for more must not cost what there would have been without it.
            families = .v4
            send(.allocate)
        case .redirectedInCircles:
            redirected(response)
        case .allocationMismatch:
            // RFC 8656 §7.4: three local addresses, then two minutes of rest.
            mismatches += 1
            guard mismatches < Self.maximumMismatches else {
                end(reason)
                return
            }
            connect(name: currentName, isFresh: true)
        default:
            end(reason)
        }
    }

    /// Whether a refusal of two addresses may have another answer for one: a family that is not there (440), a quota or
    /// a store of addresses that has one left (486, 508), or a server older than the attribute that cannot pass over it
    /// (400, 420).
    private static func mayConcernFamilies(_ reason: TURNFailure) -> Bool {
        switch reason {
        case .addressFamilyNotSupported, .quotaReached, .insufficientCapacity, .badRequest,
            .unknownAttributes, .unsupportedTransport:
            true
        case .refused(let code): (500...599).contains(code)
        default: false
        }
    }

    /// Goes on to another server (RFC 8489 §10), with the credentials for this one.
    private mutating func redirected(_ response: STUNMessage) {
        let others = response.plainAddresses(.alternateServer)
        guard let next = others.first(where: { $0.ip.family == address.ip.family && $0.port != 0 }),
            !next.ip.isUnspecified, !next.ip.isMulticast, next.ip.isLoopback == address.ip.isLoopback,
            !visited.contains(next), visited.count <= Self.maximumRedirects
        else {
            end(.redirectedInCircles)
            return
        }
        visited.append(next)
        address = next
        authentication = TURNAuthentication(server.credentials)
        families = server.families
        if let domain = response.first(.alternateDomain), (1...255).contains(domain.count),
            let name = String(validating: domain, as: UTF8.self)
        {
            alternateName = name
        }
        timing.rto = nil
        connect(name: currentName, isFresh: false)
    }

    /// The name that the server's certificate must be for.
    private var currentName: String? { alternateName ?? server.name }

    // MARK: - Success

    private mutating func succeeded(_ request: Request, _ response: STUNMessage) {
        switch request.purpose {
        case .allocate: allocated(request, response)
        case .refresh: refreshed(request, response)
        case .release: end(nil)
        case .permission(let ip): permitted(ip, since: request.sentAt)
        case .channel(let index): bound(index, since: request.sentAt)
        }
    }

    /// RFC 8656 §7.3: what the client cannot use it deletes.
    private mutating func allocated(_ request: Request, _ response: STUNMessage) {
        let wanted: [IPAddress.Family] =
            switch families {
            case .v4: [.v4]
            case .v6: [.v6]
            case .both: [.v4, .v6]
            }
        let usable = response.xorAddresses(.xorRelayedAddress).filter {
            $0.port != 0 && !$0.ip.isUnspecified && !$0.ip.isMulticast
        }
        relayed = wanted.compactMap { family in usable.first { $0.ip.family == family } }
        guard !relayed.isEmpty, let lifetime = response.grantedLifetime, lifetime > .zero else {
            abandon(because: .malformed)
            return
        }
        mapped = response.xorMappedAddress
        state = .allocated
        schedule(lifetime, since: request.sentAt)
        report(.allocated)
        for permission in permissions where permission.state == .asked { askPermission(permission.peer.ip) }
    }

    private mutating func refreshed(_ request: Request, _ response: STUNMessage) {
        guard let lifetime = response.grantedLifetime, lifetime > .zero else {
            end(.malformed)
            return
        }
        schedule(lifetime, since: request.sentAt)
    }

    /// RFC 8656 §8: a minute before the end; of a short life, half way.
    private mutating func schedule(_ lifetime: Duration, since start: Timestamp) {
        let lifetime = min(lifetime, .seconds(86_400))
        timing.expiresAt = start + lifetime
        timing.refreshAt = start + max(lifetime - Self.margin, lifetime / 2)
    }

    private mutating func permitted(_ ip: IPAddress, since start: Timestamp) {
        guard let index = permission(of: ip) else { return }
        let isNew = permissions[index].state != .granted
        permissions[index].state = .granted
        permissions[index].expiresAt = start + Self.permissionLifetime
        permissions[index].refreshAt = start + (Self.permissionLifetime - Self.margin)
        guard isNew else { return }
        report(.permitted(ip))
        let waiting = permissions[index].waiting
        permissions[index].waiting = []
        for message in waiting { sendIndication(message.payload.span.bytes, to: message.peer) }
    }

    private mutating func bound(_ index: Int, since start: Timestamp) {
        let isNew = !channels[index].isBound
        channels[index].isBound = true
        channels[index].expiresAt = start + Self.channelLifetime
        channels[index].refreshAt = start + (Self.channelLifetime - Self.margin)
        if isNew { report(.bound(channels[index].peer, channel: number(of: index))) }
    }
}
