// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// `dreamer bench`
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure speed, processor time and memory.",
        subcommands: [
            BenchHashCommand.self, BenchChannelCommand.self, BenchConnectionsCommand.self, BenchSwarmCommand.self,
            BenchPathCommand.self, BenchRelayCommand.self, BenchInferenceCommand.self, PathEndCommand.self,
        ])
}
