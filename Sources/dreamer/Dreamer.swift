// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc

/// The program: one command line for everything that Dreamer does.
struct Dreamer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dreamer",
        abstract: "Language models from peer to peer over WebRTC, every byte verified.",
        subcommands: [
            DemoCommand.self, PackCommand.self, InspectCommand.self, VerifyCommand.self, SeedCommand.self,
            FetchCommand.self, TrackerCommand.self, RelayCommand.self, ConnectCommand.self, NATCommand.self,
            GenerateCommand.self, ServeCommand.self, TokenizeCommand.self, BenchCommand.self,
        ])
}

/// Something went wrong while a command ran: told on standard error, exit status 1.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Exit statuses: 0, 1 for what failed, 2 for wrong usage.
@main
enum Main {
    static func main() async {
        // A reader of our output that went away is an error of that write, not a signal.
        signal(SIGPIPE, SIG_IGN)
        // First of all, as it may start the program anew.
        AllocatorTuning.apply()
        do {
            var command = try Dreamer.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let failure as CommandFailure {
            Terminal.note("dreamer: \(failure)")
            exit(1)
        } catch {
            switch Dreamer.exitCode(for: error) {
            case .success:
                Terminal.output(Dreamer.fullMessage(for: error))
                exit(0)
            case .validationFailure:
                Terminal.note(Dreamer.fullMessage(for: error))
                exit(2)
            case let code where error is ExitCode:
                exit(code.rawValue)
            default:
                Terminal.note("dreamer: \(error)")
                exit(1)
            }
        }
    }
}
