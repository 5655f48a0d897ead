// SPDX-License-Identifier: Apache-2.0

import Wire

/// Why a control message cannot be used.
public enum ControlMessageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No JSON object, or over a bound: the sender is banned.
    case fault(String)
    /// A field of the wrong kind: the connection is closed.
    case breach(String)

    /// What is wrong, in words.
    public var description: String {
        switch self {
        case .fault(let what), .breach(let what): what
        }
    }
}

extension ControlMessage {
    /// Reads a message. Unknown types become ``unknown(type:)``, unknown fields are left out.
    public init(parsing bytes: RawSpan) throws(ControlMessageError) {
        guard bytes.byteCount <= ControlMessage.maximumByteCount else {
            throw .fault("a control message of \(bytes.byteCount) bytes")
        }
        let json: JSON
        do throws(JSONError) {
            json = try JSON(parsing: bytes, limits: .init(depth: ControlMessage.maximumDepth, values: 65_536))
        } catch {
            // Text in which a name comes twice is JSON, though no one can say what it means.
            if error.code == .duplicateName { throw .breach("a control message: \(error)") }
            throw .fault("a control message: \(error)")
        }
        guard case .object(let object) = json else { throw .fault("a control message that is no JSON object") }
        try ControlMessage.checkIntegers(json)
        try self.init(fields: Fields(object: object))
    }

    /// Reads a message from text.
    public init(parsing text: String) throws(ControlMessageError) {
        let bytes = Array(text.utf8)
        try self.init(parsing: bytes.span.bytes)
    }

    /// The bound on integers holds for the whole message, as those on length and depth do. Depth is bounded already.
    private static func checkIntegers(_ json: JSON) throws(ControlMessageError) {
        switch json {
        case .integer(let value):
            guard value.magnitude <= UInt64(maximumInteger) else { throw .fault("the integer \(value) in a control message") }
        case .array(let values):
            for value in values { try checkIntegers(value) }
        case .object(let object):
            for (_, value) in object { try checkIntegers(value) }
        default: break
        }
    }

    private init(fields: Fields) throws(ControlMessageError) {
        guard let type = fields.object["type"]?.string else {
            self = .unknown(type: nil)
            return
        }
        switch type {
        case "hello": self = .hello(try Hello(fields: fields))
        case "bitfield":
            guard let bits = Base64.decode(try fields.string("bits")) else { throw .breach("`bits` is no base64") }
            self = .bitfield(bits)
        case "have": self = .have(try fields.indices("shardIndices"))
        case "dont_have": self = .dontHave(try fields.indices("shardIndices"))
        case "have_groups":
            self = .haveGroups(shardIndex: try fields.index("shardIndex"), ranges: try fields.ranges("ranges"))
        case "want":
            self = .want(
                Want(
                    shardIndex: try fields.index("shardIndex"), requestID: try fields.optionalRequestID(),
                    offset: try fields.optionalCount("offset"), length: try fields.optionalCount("length"),
                    proof: try fields.optionalBool("proof")))
        case "cancel":
            self = .cancel(shardIndex: try fields.index("shardIndex"), requestID: try fields.optionalRequestID())
        case "reject":
            // A want without a number is rejected as 0.
            let requestID = try fields.optionalCount("requestId") ?? 0
            guard let requestID = UInt32(exactly: requestID) else { throw .breach("`requestId` is out of range") }
            self = .reject(
                Reject(
                    requestID: requestID, shardIndex: try fields.index("shardIndex"),
                    reason: Reject.Reason(rawValue: try fields.string("reason"))))
        case "manifest_request":
            let requestID = try fields.optionalRequestID()
            guard requestID != 0 else { throw .breach("a manifest request without `requestId`") }
            self = .manifestRequest(requestID: requestID)
        case "choke": self = .choke
        case "unchoke": self = .unchoke
        case "ping": self = .ping(nonce: try fields.integer("nonce"))
        case "pong": self = .pong(nonce: try fields.integer("nonce"))
        default: self = .unknown(type: type)
        }
    }
}

extension ControlMessage.Hello {
    fileprivate init(fields: Fields) throws(ControlMessageError) {
        let version = try fields.integer("version")
        guard let nodeID = NodeID(hex: try fields.string("nodeId")) else { throw .breach("`nodeId` is no node id") }
        guard let binding = StrictHex.decode(try fields.string("binding")), binding.count == 32 else {
            throw .breach("`binding` is no hash")
        }
        var features: [String] = []
        for value in try fields.optionalArray("features") ?? [] {
            guard let feature = value.string else { throw .breach("a feature that is no string") }
            features.append(feature)
        }
        self.init(
            version: version, minVersion: try fields.optionalCount("minVersion") ?? version, nodeID: nodeID,
            lane: try fields.optionalCount("lane") ?? 0, binding: binding,
            agent: try fields.optionalString("agent") ?? "", features: features,
            maxRequests: try fields.optionalCount("maxRequests") ?? 64)
    }
}

/// Typed access to the members of a message. `null` counts as absent where a field may be absent.
private struct Fields {
    let object: JSON.Object

    private func optional(_ name: String) -> JSON? {
        guard let value = object[name], !value.isNull else { return nil }
        return value
    }

    private func required(_ name: String) throws(ControlMessageError) -> JSON {
        guard let value = object[name] else { throw .breach("`\(name)` is missing") }
        return value
    }

    private func integer(_ value: JSON, _ name: String) throws(ControlMessageError) -> Int64 {
        if let integer = value.integer { return integer }
        if let number = value.number, number.magnitude > Double(ControlMessage.maximumInteger) {
            throw .fault("`\(name)` is over 2^53")
        }
        throw .breach("`\(name)` is no integer")
    }

    func integer(_ name: String) throws(ControlMessageError) -> Int64 { try integer(required(name), name) }

    func string(_ name: String) throws(ControlMessageError) -> String {
        guard let string = try required(name).string else { throw .breach("`\(name)` is no string") }
        return string
    }

    func optionalString(_ name: String) throws(ControlMessageError) -> String? {
        optional(name) == nil ? nil : try string(name)
    }

    func optionalBool(_ name: String) throws(ControlMessageError) -> Bool? {
        guard let value = optional(name) else { return nil }
        guard let bool = value.bool else { throw .breach("`\(name)` is neither true nor false") }
        return bool
    }

    func optionalArray(_ name: String) throws(ControlMessageError) -> [JSON]? {
        guard let value = optional(name) else { return nil }
        guard let array = value.array else { throw .breach("`\(name)` is no array") }
        return array
    }

    /// An integer that is not negative.
    func optionalCount(_ name: String) throws(ControlMessageError) -> Int64? {
        guard let value = optional(name) else { return nil }
        let integer = try integer(value, name)
        guard integer >= 0 else { throw .breach("`\(name)` is negative") }
        return integer
    }

    /// The number of a request, 0 where there is none.
    func optionalRequestID() throws(ControlMessageError) -> UInt32 {
        guard let value = optional("requestId") else { return 0 }
        guard let id = UInt32(exactly: try integer(value, "requestId")), id > 0 else {
            throw .breach("`requestId` is out of range")
        }
        return id
    }

    func index(_ name: String) throws(ControlMessageError) -> UInt32 { try index(required(name), name) }

    private func index(_ value: JSON, _ name: String) throws(ControlMessageError) -> UInt32 {
        guard let index = UInt32(exactly: try integer(value, name)) else { throw .breach("`\(name)` is out of range") }
        return index
    }

    func indices(_ name: String) throws(ControlMessageError) -> [UInt32] {
        guard let array = try required(name).array else { throw .breach("`\(name)` is no array") }
        var indices: [UInt32] = []
        indices.reserveCapacity(array.count)
        for value in array { indices.append(try index(value, name)) }
        return indices
    }

    func ranges(_ name: String) throws(ControlMessageError) -> [ControlMessage.GroupRange] {
        guard let array = try required(name).array else { throw .breach("`\(name)` is no array") }
        var ranges: [ControlMessage.GroupRange] = []
        for value in array {
            guard let pair = value.array, pair.count == 2 else { throw .breach("`\(name)` holds no pairs") }
            let first = try integer(pair[0], name)
            let count = try integer(pair[1], name)
            guard first >= 0, count >= 0 else { throw .breach("`\(name)` holds a negative number") }
            ranges.append(.init(first: first, count: count))
        }
        return ranges
    }
}
