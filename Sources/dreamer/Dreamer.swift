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
        end(await run())
    }

    /// Ends the program. Without what `exit(3)` runs: other threads may be at work, and it would take down beneath them
    /// what they use.
    static func end(_ status: Int32) -> Never {
        fflush(nil)
        _exit(status)
    }

    /// Runs the command that the arguments name; answers the exit status.
    private static func run() async -> Int32 {
        do {
            var command = try Dreamer.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            return 0
        } catch let failure as CommandFailure {
            Terminal.note("dreamer: \(failure)")
            return 1
        } catch {
            switch Dreamer.exitCode(for: error) {
            case .success:
                Terminal.output(Dreamer.fullMessage(for: error))
                return 0
            case .validationFailure:
                Terminal.note(Dreamer.fullMessage(for: error))
                return 2
            case let code where error is ExitCode:
                return code.rawValue
            default:
                Terminal.note("dreamer: \(error)")
                return 1
            }
        }
    }
}
