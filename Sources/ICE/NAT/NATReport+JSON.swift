// SPDX-License-Identifier: Apache-2.0
public import Wire

extension NATReport {
    /// The report for programs. A fact that is not known is `null`, and `unknown` has a word for why; times are
    /// seconds.
    public var json: JSON {
        var unknown = JSON.Object()
        func fact<Value>(_ name: String, _ fact: NATFact<Value>, _ json: (Value) -> JSON) -> JSON {
            switch fact {
            case .known(let value): return json(value)
            case .unknown(let reason):
                unknown[name] = .string(reason.token)
                return .null
            }
        }
        func word<Value: RawRepresentable<String>>(_ value: Value) -> JSON { .string(value.rawValue) }

        var object: JSON.Object = [
            "server": .string(server.description),
            "otherAddress": otherAddress.map { .string($0.description) } ?? .null,
            "localAddress": localAddress.map { .string($0.description) } ?? .null,
            "mappedAddress": mappedAddress.map { .string($0.description) } ?? .null,
            "externalAddresses": .array(externalAddresses.map { .string($0.description) }),
            "behavior": behavior.map { .string($0.description) } ?? .null,
        ]
        object["kind"] = fact("kind", kind, word)
        object["mapping"] = fact("mapping", mapping, word)
        object["filtering"] = fact("filtering", filtering, word)
        object["allocation"] = fact("allocation", allocation, \.json)
        object["furtherAllocation"] = fact("furtherAllocation", furtherAllocation, \.json)
        object["preservesParity"] = fact("preservesParity", preservesParity) { .bool($0) }
        object["pooling"] = fact("pooling", pooling, word)
        object["hairpinning"] = fact("hairpinning", hairpinning, word)
        object["filteredInbound"] = fact("filteredInbound", filteredInbound, word)
        object["mappingLifetime"] = fact("mappingLifetime", mappingLifetime) { lifetime in
            [
                "survived": .number(lifetime.survived.seconds),
                "expired": lifetime.expired.map { .number($0.seconds) } ?? .null,
            ]
        }
        object["inboundRefreshes"] = fact("inboundRefreshes", inboundRefreshes) { .bool($0) }
        object["rewritesPayload"] = fact("rewritesPayload", rewritesPayload) { .bool($0) }
        object["unknown"] = .object(unknown)
        object["serverFaults"] = .array(faults.map { .string($0.description) })
        object["roundTripTime"] = roundTripTime.map { .number($0.seconds) } ?? .null
        object["requestsSent"] = .integer(Int64(requestsSent))
        object["requestsAnswered"] = .integer(Int64(requestsAnswered))
        object["packetsDropped"] = .integer(Int64(packetsDropped))
        object["meaning"] = .array(meaning.map { .string($0) })
        object["exchanges"] = .array(exchanges.map(\.json))
        return .object(object)
    }
}

extension NATPortPattern {
    /// The pattern for programs.
    var json: JSON {
        [
            "kind": .string(allocation.rawValue),
            "step": step.map { .integer(Int64($0)) } ?? .null,
            "lowest": .integer(Int64(observed.lowerBound)),
            "highest": .integer(Int64(observed.upperBound)),
            "confined": .bool(isConfined),
        ]
    }
}

extension NATExchange {
    /// The exchange for programs.
    var json: JSON {
        var object: JSON.Object = [
            "purpose": .string(purpose.rawValue),
            "socket": .integer(Int64(socket)),
            "from": .string(source.description),
            "to": .string(destination.description),
            "changeAddress": .bool(changes.contains(.address)),
            "changePort": .bool(changes.contains(.port)),
            "responsePort": responsePort.map { .integer(Int64($0)) } ?? .null,
            "sentAt": sentAt.map { .number(Double($0.nanoseconds) * 1e-9) } ?? .null,
            "copies": .integer(Int64(copies)),
        ]
        switch outcome {
        case .pending: object["outcome"] = "pending"
        case .silent: object["outcome"] = "silent"
        case .dropped: object["outcome"] = "dropped"
        case .refused(let code):
            object["outcome"] = "refused"
            object["code"] = .integer(Int64(code))
        case .answered(let answer):
            object["outcome"] = "answered"
            object["answeredAt"] = .number(Double(answer.time.nanoseconds) * 1e-9)
            object["atSocket"] = .integer(Int64(answer.socket))
            object["answeredFrom"] = .string(answer.source.description)
            object["mapped"] = .string(answer.mapped.description)
        }
        return .object(object)
    }
}
