// SPDX-License-Identifier: Apache-2.0

/// Why a TURN server is of no use, or refuses a request (RFC 8489 §9.2.5, RFC 8656 §7.4 and §19).
public enum TURNFailure: Error, Hashable, Sendable {
    /// It does not answer.
    case timeout
    /// The network says that nobody listens there, or a stream could not be opened.
    case unreachable
    /// The stream to it came to an end.
    case streamClosed
    /// No TLS session with it came about, or it broke.
    case tlsFailed(String)
    /// What came over the stream is no TURN (RFC 8656 §12.5).
    case streamBroken
    /// 400: it takes our request for malformed, or believes something else than we do.
    case badRequest
    /// 401: it does not know these credentials.
    case unauthorized
    /// 403: it does not want to.
    case forbidden
    /// 420: it does not understand what the request needs.
    case unknownAttributes([STUNAttribute.Kind])
    /// 437: there is no such allocation, or one of somebody else has our address.
    case allocationMismatch
    /// 438, again and again.
    case staleNonce
    /// 440: it has no relayed addresses of the family.
    case addressFamilyNotSupported
    /// 441: the allocation was made with other credentials.
    case wrongCredentials
    /// 442: it does not relay UDP.
    case unsupportedTransport
    /// 443: the peer's address is of another family than the relayed one.
    case peerAddressFamilyMismatch
    /// 486: the user has as many allocations as are allowed.
    case quotaReached
    /// 508: it has nothing left to give.
    case insufficientCapacity
    /// 300: it names no other server, or one that was asked already (RFC 8489 §10).
    case redirectedInCircles
    /// The answers lack the features that their nonce tells: somebody on the way took them out (RFC 8489 §9.2.1).
    case bidDown
    /// It makes keys of passwords only in ways that are not known here.
    case noCommonAlgorithm
    /// Answers came, none with a right proof; the last claimed this error.
    case integrityViolated(claimed: Int?)
    /// Its answer cannot be used.
    case malformed
    /// The allocation ran out.
    case expired
    /// As many peers or channels are in use as may be.
    case limit
    /// Any other error.
    case refused(code: Int)

    /// How long to leave the server alone, where the RFC says: 2 minutes after 437, 1 minute after 486 and 508 (RFC
    /// 8656 §7.4).
    public var pause: Duration? {
        switch self {
        case .allocationMismatch: .seconds(120)
        case .quotaReached, .insufficientCapacity: .seconds(60)
        default: nil
        }
    }

    /// What an error response means.
    init(_ response: STUNMessage) {
        self =
            switch response.errorCode?.code {
            case 300: .redirectedInCircles
            case 400: .badRequest
            case 401: .unauthorized
            case 403: .forbidden
            case 420: .unknownAttributes(response.unknownAttributes)
            case 437: .allocationMismatch
            case 438: .staleNonce
            case 440: .addressFamilyNotSupported
            case 441: .wrongCredentials
            case 442: .unsupportedTransport
            case 443: .peerAddressFamilyMismatch
            case 486: .quotaReached
            case 508: .insufficientCapacity
            case .some(let code): .refused(code: code)
            case nil: .malformed
            }
    }
}

extension TURNFailure: CustomStringConvertible {
    /// The reason in words.
    public var description: String {
        switch self {
        case .timeout: "no answer"
        case .unreachable: "unreachable"
        case .streamClosed: "the connection was closed"
        case .tlsFailed(let cause): "TLS: \(cause)"
        case .streamBroken: "what it sent is no TURN"
        case .badRequest: "bad request (400)"
        case .unauthorized: "user or password is wrong (401)"
        case .forbidden: "forbidden (403)"
        case .unknownAttributes(let kinds): "does not know \(kinds.map(\.description).joined(separator: ", ")) (420)"
        case .allocationMismatch: "no such allocation, or the address is taken (437)"
        case .staleNonce: "no nonce stays valid (438)"
        case .addressFamilyNotSupported: "no addresses of this family (440)"
        case .wrongCredentials: "the allocation has other credentials (441)"
        case .unsupportedTransport: "does not relay UDP (442)"
        case .peerAddressFamilyMismatch: "the peer's address is of another family (443)"
        case .quotaReached: "the user's quota is reached (486)"
        case .insufficientCapacity: "no capacity (508)"
        case .redirectedInCircles: "names no other server that was not asked (300)"
        case .bidDown: "security features were taken out on the way"
        case .noCommonAlgorithm: "no password algorithm in common"
        case .integrityViolated(let code):
            "answers without a right proof\(code.map { ", the last claims \($0)" } ?? "")"
        case .malformed: "unusable answer"
        case .expired: "the allocation ran out"
        case .limit: "too many peers"
        case .refused(let code): "refused \(code)"
        }
    }
}
