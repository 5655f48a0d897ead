// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import NATLab

/// The programs that run ICE agents in a laboratory.
enum LabAgents {
    /// Whose agent.
    enum Kind: String, CaseIterable, ExpressibleByArgument, Sendable {
        case ours
        case aioice
        case libnice
    }

    /// Why an agent cannot be run.
    struct Missing: Error, CustomStringConvertible {
        let description: String
    }

    /// The program of an agent, ours with these options. Foreign ones are in `Benchmarks` below the current folder; one
    /// in C is compiled into `.build`.
    static func program(_ kind: Kind, options: [String] = []) -> Result<AgentProgram, Missing> {
        switch kind {
        case .ours:
            return .success(
                AgentProgram(
                    "dreamer", program: "/proc/self/exe", arguments: ["nat", "agent"] + options,
                    knowsBehaviors: true,
                    takesSeveralRelays: true))
        case .aioice:
            let script = "Benchmarks/aioice_agent.py"
            guard access(script, R_OK) == 0 else { return .failure(Missing(description: "there is no \(script) here")) }
            for python in [".venv/bin/python3", "/usr/bin/python3"] where access(python, X_OK) == 0 {
                if status("\(python) -c 'import aioice' 2>/dev/null") == 0 {
                    return .success(AgentProgram("aioice", program: python, arguments: [script]))
                }
            }
            return .failure(Missing(description: "no Python here has aioice"))
        case .libnice:
            let (source, program) = ("Benchmarks/nice_agent.c", ".build/nice_agent")
            guard access(source, R_OK) == 0 else { return .failure(Missing(description: "there is no \(source) here")) }
            let command =
                "mkdir -p .build && { [ \(program) -nt \(source) ] || cc -O2 -o \(program) \(source) "
                + "$(pkg-config --cflags --libs nice) ; }"
            guard status("pkg-config --exists nice 2>/dev/null") == 0 else {
                return .failure(Missing(description: "pkg-config knows no libnice (Debian: libnice-dev)"))
            }
            guard status(command) == 0 else {
                return .failure(Missing(description: "\(source) does not compile"))
            }
            return .success(AgentProgram("libnice", program: program))
        }
    }

    private static func status(_ command: String) -> Int32 { system(command) }
}
