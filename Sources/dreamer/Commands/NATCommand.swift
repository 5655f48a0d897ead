// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// `dreamer nat …`
struct NATCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nat", abstract: "What NATs do to connections, simulated and on this host.",
        subcommands: [
            NATSimCommand.self, NATLabCommand.self, NATProbeCommand.self, NATProfilesCommand.self, NATAgentCommand.self,
        ])
}

/// `dreamer nat profiles`
struct NATProfilesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profiles", abstract: "List the profiles that come with the program, or print one as a file.")

    @Argument(help: "The name of a profile to print as JSON.")
    var name: String?

    func run() throws {
        for line in try NATProfiles.describe(name) { Terminal.output(line) }
    }
}
