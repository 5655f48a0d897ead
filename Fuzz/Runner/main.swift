// SPDX-License-Identifier: Apache-2.0
import FuzzTargets
import Glibc

// fuzz TARGET [what libFuzzer takes]: runs one target under libFuzzer. scripts/fuzz builds and calls it.

@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
    _ count: UnsafeMutablePointer<Int32>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

/// The target, where the function that libFuzzer calls can see it.
nonisolated(unsafe) var target = FuzzTarget.stun

guard CommandLine.arguments.count > 1, let named = FuzzTarget(rawValue: CommandLine.arguments[1]) else {
    let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: "|")
    print("usage: fuzz \(names) [libFuzzer's arguments]")
    exit(2)
}
target = named
// A search begins with these, where a folder for them is named.
if let folder = getenv("DREAMER_FUZZ_SEEDS").map({ String(cString: $0) }) {
    for (index, seed) in named.seeds.enumerated() {
        guard let file = fopen("\(folder)/seed-\(index)", "w") else { continue }
        fwrite(seed, 1, seed.count, file)
        fclose(file)
    }
}
var count = CommandLine.argc - 1
var arguments = CommandLine.unsafeArgv + 1
exit(
    runDriver(&count, &arguments) { data, size in
        target.run([UInt8](UnsafeBufferPointer(start: data, count: size)))
        return 0
    })
