// SPDX-License-Identifier: Apache-2.0

/// What a discovery found out about one property of a NAT, or why it did not.
public enum NATFact<Value: Hashable & Sendable>: Hashable, Sendable {
    /// It was seen to be so, and not by the loss of packets.
    case known(Value)
    /// It could not be told.
    case unknown(NATUncertainty)

    /// The value where it is known.
    public var value: Value? { if case .known(let value) = self { value } else { nil } }
    /// Why it is not known; `nil` where it is.
    public var uncertainty: NATUncertainty? { if case .unknown(let reason) = self { reason } else { nil } }
}

/// Why a property of a NAT is not known.
public enum NATUncertainty: Hashable, Sendable {
    /// The discovery did not come to it.
    case notTested
    /// It was not asked for.
    case notWanted
    /// Nothing came back from the server.
    case noAnswer
    /// The driver could bind no socket.
    case noSocket
    /// The driver bound a socket to no address in particular, so that nobody can tell whether something translates.
    case localAddressUnknown
    /// The server refuses what the test needs, with this error code.
    case refused(Int)
    /// The server names no OTHER-ADDRESS (RFC 5780 §7.4), or none that can be used.
    case noOtherAddress
    /// The server's other address is a second port of the same host: what depends on addresses does not show.
    case oneAddress
    /// The server's other address has the same port: what depends on ports does not show.
    case onePort
    /// Nothing came back from the server's other address.
    case otherAddressSilent
    /// The server answers from where it was asked although it should answer from elsewhere.
    case changeRequestIgnored
    /// The server never showed that it answers from another address, so that silence proves no filter.
    case changeRequestUnproven
    /// The server never showed that it answers to another port (RFC 5780 §7.5).
    case responsePortUnproven
    /// So many packets are lost that silence means nothing.
    case tooLossy
    /// Too few mappings were seen.
    case tooFewSamples
    /// What was seen contradicts itself: mappings that change while they are used, or a server that tells nonsense.
    case inconsistent
    /// It has no effect here that could be seen from inside.
    case notObservable
    /// Nothing is filtered, so that nothing happens to what is.
    case nothingFiltered
    /// Nothing translates.
    case noTranslation
    /// The time for it was up.
    case timeSpent
}

extension NATUncertainty: CustomStringConvertible {
    /// The reason in words, for after "unknown: ".
    public var description: String {
        switch self {
        case .notTested: "not tested"
        case .notWanted: "not asked for"
        case .noAnswer: "the server did not answer"
        case .noSocket: "no socket could be bound"
        case .localAddressUnknown: "the sockets are bound to no address in particular"
        case .refused(let code): "the server refuses what the test needs with \(code)"
        case .noOtherAddress: "the server has no second address"
        case .oneAddress: "the server's other address is a port of the same host"
        case .onePort: "the server's other address has the same port"
        case .otherAddressSilent: "the server's other address does not answer"
        case .changeRequestIgnored: "the server ignores CHANGE-REQUEST"
        case .changeRequestUnproven: "the server never answered from another address, not even where nothing filters"
        case .responsePortUnproven: "the server does not answer to another port when asked to"
        case .tooLossy: "too many packets are lost"
        case .tooFewSamples: "too few mappings were seen"
        case .inconsistent: "what was seen contradicts itself"
        case .notObservable: "it does not show from inside"
        case .nothingFiltered: "nothing is filtered"
        case .noTranslation: "nothing translates"
        case .timeSpent: "the time was up"
        }
    }

    /// The reason as a word for programs.
    public var token: String {
        switch self {
        case .notTested: "not-tested"
        case .notWanted: "not-wanted"
        case .noAnswer: "no-answer"
        case .noSocket: "no-socket"
        case .localAddressUnknown: "local-address-unknown"
        case .refused(let code): "refused-\(code)"
        case .noOtherAddress: "no-other-address"
        case .oneAddress: "one-address"
        case .onePort: "one-port"
        case .otherAddressSilent: "other-address-silent"
        case .changeRequestIgnored: "change-request-ignored"
        case .changeRequestUnproven: "change-request-unproven"
        case .responsePortUnproven: "response-port-unproven"
        case .tooLossy: "too-lossy"
        case .tooFewSamples: "too-few-samples"
        case .inconsistent: "inconsistent"
        case .notObservable: "not-observable"
        case .nothingFiltered: "nothing-filtered"
        case .noTranslation: "no-translation"
        case .timeSpent: "time-spent"
        }
    }
}
