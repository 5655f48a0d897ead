// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Something that a server does which makes it unfit to tell everything about a NAT.
public enum NATServerFault: Hashable, Sendable {
    /// It answers nothing; another was asked.
    case silent(SocketAddress)
    /// It names no OTHER-ADDRESS.
    case noOtherAddress
    /// Its OTHER-ADDRESS is on the same IP address.
    case otherAddressOnSameHost(SocketAddress)
    /// Its OTHER-ADDRESS has the same port.
    case otherAddressOnSamePort(SocketAddress)
    /// Its OTHER-ADDRESS is no address that one could send to, or its own.
    case otherAddressUnusable(SocketAddress)
    /// Asked elsewhere, it names another address than RFC 5780 §6.1 has it name.
    case otherAddressInconsistent(SocketAddress)
    /// It answers from where it was asked although it should answer from elsewhere.
    case ignoresChangeRequest
    /// It answers from an address that nobody asked it to answer from.
    case answersFromElsewhere(SocketAddress)
    /// It says that it answers from another address than it does, as behind a NAT of its own.
    case responseOriginDiffers(SocketAddress)
    /// Its answers hold no mapped address, or none that can be.
    case noMappedAddress
}

extension NATServerFault: CustomStringConvertible {
    /// The fault in words, the server being the subject.
    public var description: String {
        switch self {
        case .silent(let server): "\(server) did not answer; another server was asked"
        case .noOtherAddress: "names no OTHER-ADDRESS: it cannot show on what mapping and filtering depend"
        case .otherAddressOnSameHost(let address): "names \(address) as OTHER-ADDRESS, on its own IP address"
        case .otherAddressOnSamePort(let address): "names \(address) as OTHER-ADDRESS, with the port that it has anyway"
        case .otherAddressUnusable(let address): "names \(address) as OTHER-ADDRESS, where nobody can send to"
        case .otherAddressInconsistent(let address):
            "names \(address) as OTHER-ADDRESS also where that is its own address or port"
        case .ignoresChangeRequest: "ignores CHANGE-REQUEST"
        case .answersFromElsewhere(let address): "answered from \(address) without being asked to"
        case .responseOriginDiffers(let address): "says that it answers from \(address), which is not so"
        case .noMappedAddress: "answers without an address that could be ours"
        }
    }
}
