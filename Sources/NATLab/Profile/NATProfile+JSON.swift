// SPDX-License-Identifier: Apache-2.0
internal import ICE
public import Wire

//   { "name": "cgn", "kind": "nat", "mapping": "ei", "filtering": "ad", "allocation": "random",
//     "ports": [1024, 65535], "portBlock": 2048, "addresses": 4, "pooling": "paired", "mappingLifetime": 300 }
//
// Only the name must be there. Durations are in seconds. "comment" may hold anything.

extension NATProfile {
    /// The names of the members, in the order in which they are written.
    private enum Member: String, CaseIterable {
        case name, comment, kind, mapping, filtering, allocation, ports, portStep, portBlock, preservesParity,
            portConflict
        case addresses, pooling, hairpinning, mappingLifetime, filterLifetime, outboundRefreshes, inboundRefreshes
        case filteredInbound, maximumSessions, outer
    }

    /// The longest lifetime that is read, in seconds: a day, which is more than any NAT was seen with.
    private static let longestLifetime = 86_400.0
    /// More boxes in a row than any path has.
    private static let mostBoxes = 8
    /// More external addresses than one profile needs.
    private static let mostAddresses = 256

    /// Reads a profile from the text of a file.
    public init(parsing text: String) throws(NATProfileError) {
        let json: JSON
        do { json = try JSON(parsing: text, limits: JSON.Limits(depth: 16, values: 4096)) } catch {
            throw .notJSON(error)
        }
        try self.init(json: json)
    }

    /// Reads a profile; members that are missing or `null` have the values of a fresh one.
    public init(json: JSON) throws(NATProfileError) {
        try self.init(ProfileField(path: "profile", value: json), isOuter: false)
    }

    private init(_ field: ProfileField, isOuter: Bool) throws(NATProfileError) {
        guard let members = field.value.object else { throw field.wrong("an object") }
        for member in members where Member(rawValue: member.name) == nil {
            throw .unknown(
                member: field.member(member.name, of: member.value).path, known: Member.allCases.map(\.rawValue))
        }
        func member(_ name: Member) -> ProfileField? {
            guard let value = members[name.rawValue], !value.isNull else { return nil }
            return field.member(name.rawValue, of: value)
        }
        guard let name = member(.name) else { throw .missing(member: field.member("name", of: .null).path) }
        self.init(name: try name.name())
        kind = try member(.kind)?.oneOf() ?? kind
        behavior.mapping = try member(.mapping)?.oneOf() ?? behavior.mapping
        behavior.filtering = try member(.filtering)?.oneOf() ?? behavior.filtering
        behavior.allocation = try member(.allocation)?.oneOf() ?? behavior.allocation
        ports = try member(.ports)?.portRange() ?? ports
        portStep = try member(.portStep)?.count(1...65_535) ?? portStep
        portBlock = try member(.portBlock)?.count(1...ports.count)
        preservesParity = try member(.preservesParity)?.truth() ?? preservesParity
        portConflict = try member(.portConflict)?.oneOf() ?? portConflict
        addressCount = try member(.addresses)?.count(1...Self.mostAddresses) ?? addressCount
        pooling = try member(.pooling)?.oneOf() ?? pooling
        hairpinning = try member(.hairpinning)?.oneOf() ?? hairpinning
        mappingLifetime = try member(.mappingLifetime)?.seconds(upTo: Self.longestLifetime) ?? mappingLifetime
        filterLifetime = try member(.filterLifetime)?.seconds(upTo: Self.longestLifetime)
        outboundRefreshes = try member(.outboundRefreshes)?.truth() ?? outboundRefreshes
        inboundRefreshes = try member(.inboundRefreshes)?.truth() ?? inboundRefreshes
        filteredInbound = try member(.filteredInbound)?.oneOf() ?? filteredInbound
        maximumSessions = try member(.maximumSessions)?.count(1...16_777_216) ?? maximumSessions
        guard let outer = member(.outer) else { return }
        guard !isOuter, let boxes = outer.value.array, boxes.count <= Self.mostBoxes else {
            throw outer.wrong(
                isOuter ? "given for the innermost box alone" : "an array of at most \(Self.mostBoxes) profiles")
        }
        for (index, box) in boxes.enumerated() {
            let place = ProfileField(path: "\(outer.path)[\(index)]", value: box)
            self.outer.append(try NATProfile(place, isOuter: true))
        }
    }

    /// The profile as JSON, every member but those that stand for nothing.
    public var json: JSON {
        var members = JSON.Object()
        func set(_ member: Member, _ value: JSON) { members[member.rawValue] = value }
        set(.name, .string(name))
        set(.kind, .string(kind.rawValue))
        set(.mapping, .string(behavior.mapping.rawValue))
        set(.filtering, .string(behavior.filtering.rawValue))
        set(.allocation, .string(behavior.allocation.rawValue))
        set(.ports, .array([.integer(Int64(ports.lowerBound)), .integer(Int64(ports.upperBound))]))
        set(.portStep, .integer(Int64(portStep)))
        if let portBlock { set(.portBlock, .integer(Int64(portBlock))) }
        set(.preservesParity, .bool(preservesParity))
        set(.portConflict, .string(portConflict.rawValue))
        set(.addresses, .integer(Int64(addressCount)))
        set(.pooling, .string(pooling.rawValue))
        set(.hairpinning, .string(hairpinning.rawValue))
        set(.mappingLifetime, Self.seconds(mappingLifetime))
        if let filterLifetime { set(.filterLifetime, Self.seconds(filterLifetime)) }
        set(.outboundRefreshes, .bool(outboundRefreshes))
        set(.inboundRefreshes, .bool(inboundRefreshes))
        set(.filteredInbound, .string(filteredInbound.rawValue))
        set(.maximumSessions, .integer(Int64(maximumSessions)))
        if !outer.isEmpty { set(.outer, .array(outer.map(\.json))) }
        return .object(members)
    }

    private static func seconds(_ duration: Duration) -> JSON {
        let (seconds, rest) = duration.components
        return rest == 0 ? .integer(seconds) : .number(duration.seconds)
    }
}
