// SPDX-License-Identifier: Apache-2.0
import NATLab
import Wire

/// NAT profiles by name or from files.
enum NATProfiles {
    /// One line for each profile that comes with the program, or one profile as JSON.
    static func describe(_ name: String?) throws -> [String] {
        guard let name else {
            return NATProfile.standard.map { profile in
                let behavior = profile.kind == .nat ? "\(profile.behavior)" : profile.kind.rawValue
                return profile.name + String(repeating: " ", count: max(1, 26 - profile.name.count)) + behavior
            }
        }
        return [try load(name).json.serialized()]
    }

    /// A profile that comes with the program, or the one in a file.
    static func load(_ nameOrPath: String) throws -> NATProfile {
        if let profile = NATProfile.standard(named: nameOrPath) { return profile }
        let bytes: [UInt8]
        do {
            bytes = try SmallFile.read(nameOrPath)
        } catch {
            let names = NATProfile.standard.map(\.name).joined(separator: ", ")
            throw CommandFailure(
                "\(nameOrPath): no profile of this name and no file that can be read; the names are \(names)")
        }
        do {
            return try NATProfile(parsing: String(decoding: bytes, as: UTF8.self))
        } catch {
            throw CommandFailure("\(nameOrPath): \(error)")
        }
    }
}
