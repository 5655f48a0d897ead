// SPDX-License-Identifier: Apache-2.0

import Hashing
public import Wire

extension ControlMessage {
    /// The message as the text that is sent.
    public var text: String { json.serialized() }

    /// The message as a JSON object.
    public var json: JSON {
        switch self {
        case .hello(let hello): ControlMessage.json(of: hello)
        case .bitfield(let bits): ["type": "bitfield", "bits": .string(Base64.encode(bits))]
        case .have(let indices): ["type": "have", "shardIndices": ControlMessage.json(of: indices)]
        case .dontHave(let indices): ["type": "dont_have", "shardIndices": ControlMessage.json(of: indices)]
        case .haveGroups(let shardIndex, let ranges):
            [
                "type": "have_groups", "shardIndex": .integer(Int64(shardIndex)),
                "ranges": .array(ranges.map { [.integer($0.first), .integer($0.count)] }),
            ]
        case .want(let want): ControlMessage.json(of: want)
        case .cancel(let shardIndex, let requestID):
            ControlMessage.withRequestID(requestID, ["type": "cancel", "shardIndex": .integer(Int64(shardIndex))])
        case .reject(let reject):
            [
                "type": "reject", "requestId": .integer(Int64(reject.requestID)),
                "shardIndex": .integer(Int64(reject.shardIndex)), "reason": .string((reject.reason ?? .io).rawValue),
            ]
        case .manifestRequest(let requestID): ["type": "manifest_request", "requestId": .integer(Int64(requestID))]
        case .choke: ["type": "choke"]
        case .unchoke: ["type": "unchoke"]
        case .ping(let nonce): ["type": "ping", "nonce": .integer(nonce)]
        case .pong(let nonce): ["type": "pong", "nonce": .integer(nonce)]
        case .unknown(let type): type.map { ["type": .string($0)] } ?? [:]
        }
    }

    private static func json(of hello: Hello) -> JSON {
        [
            "type": "hello", "version": .integer(hello.version), "minVersion": .integer(hello.minVersion),
            "nodeId": .string(hello.nodeID.description), "lane": .integer(hello.lane),
            "binding": .string(Hex.encode(hello.binding)), "agent": .string(hello.agent),
            "features": .array(hello.features.map { .string($0) }), "maxRequests": .integer(hello.maxRequests),
        ]
    }

    private static func json(of want: Want) -> JSON {
        var object: JSON.Object = ["type": "want", "shardIndex": .integer(Int64(want.shardIndex))]
        if want.requestID != 0 { object["requestId"] = .integer(Int64(want.requestID)) }
        if let offset = want.offset { object["offset"] = .integer(offset) }
        if let length = want.length { object["length"] = .integer(length) }
        if let proof = want.proof { object["proof"] = .bool(proof) }
        return .object(object)
    }

    private static func json(of indices: [UInt32]) -> JSON { .array(indices.map { .integer(Int64($0)) }) }

    private static func withRequestID(_ requestID: UInt32, _ object: JSON.Object) -> JSON {
        var object = object
        if requestID != 0 { object["requestId"] = .integer(Int64(requestID)) }
        return .object(object)
    }
}
