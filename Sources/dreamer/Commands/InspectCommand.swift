// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import RDRR
import Wire

/// `dreamer inspect DIR`
struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Tell what a model folder holds.")

    @Argument(help: "The folder with manifest.json.")
    var folder: String

    @Flag(help: "Print the result as JSON.")
    var json = false

    func run() throws {
        let inspector = ModelInspector(try ModelFolder(opening: folder).manifest)
        Terminal.output(json ? inspector.json.serialized(indented: true) : inspector.text)
    }
}
