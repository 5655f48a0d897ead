// SPDX-License-Identifier: Apache-2.0
import Foundation
import Synchronization

/// What must not outlive the tests, however they end: programs and temporary folders.
///
/// A shell holds the list. Its input ends with this process, even when that is killed, and then it ends and removes what
/// is still on the list.
enum Leash {
    private static let script = """
        while IFS=' ' read -r what value; do
          case $what in
            +process) processes="$processes $value " ;;
            -process) processes=$(printf %s "$processes" | sed "s/ $value / /") ;;
            +folder) folders="$folders $value " ;;
            -folder) folders=$(printf %s "$folders" | sed "s| $value | |") ;;
          esac
        done
        for process in $processes; do kill -9 "$process" 2>/dev/null; done
        for folder in $folders; do rm -rf "$folder"; done
        """

    private struct State {
        let shell: Process
        let input: Pipe
    }

    private static let state: Mutex<State?> = {
        let shell = Process()
        let input = Pipe()
        shell.executableURL = URL(filePath: "/bin/sh")
        shell.arguments = ["-c", script]
        shell.standardInput = input
        // A runner that waits for the end of our output must not wait for the shell.
        shell.standardOutput = FileHandle.nullDevice
        shell.standardError = FileHandle.nullDevice
        // Without it the tests work as well; only an abrupt end would leave something behind.
        guard (try? shell.run()) != nil else { return Mutex(nil) }
        return Mutex(State(shell: shell, input: input))
    }()

    static func hold(process: Int32) { tell("+process \(process)") }
    static func release(process: Int32) { tell("-process \(process)") }
    static func hold(folder: String) { tell("+folder \(folder)") }
    static func release(folder: String) { tell("-folder \(folder)") }

    private static func tell(_ line: String) {
        state.withLock { try? $0?.input.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8)) }
    }
}
