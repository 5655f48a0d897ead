import Compute
import Inference
import RDRR
import Glibc

let arguments = CommandLine.arguments
let folder = try ModelFolder(opening: arguments[1])
let profiles = arguments.contains("--profile")
let decode = Int(arguments.first { $0.hasPrefix("n=") }?.dropFirst(2) ?? "16") ?? 16
let prefill = Int(arguments.first { $0.hasPrefix("p=") }?.dropFirst(2) ?? "128") ?? 128
func cpu() -> Double { var t = timespec(); clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return Double(t.tv_sec) + Double(t.tv_nsec) * 1e-9 }
func now() -> Double { var t = timespec(); clock_gettime(CLOCK_MONOTONIC, &t); return Double(t.tv_sec) + Double(t.tv_nsec) * 1e-9 }
func device(_ name: String) throws -> any ComputeDevice {
    switch name {
    case "cpu": CPUDevice(threads: 2)
    case "lanes": try VulkanDevice(.init(cacheFolder: "/tmp", kernels: .lanes))
    default: try VulkanDevice(.init(cacheFolder: "/tmp", kernels: .subgroups))
    }
}
var logits: [String: [[Float]]] = [:]
for name in arguments[2].split(separator: ",").map(String.init) {
    var t = now()
    let d = try device(name)
    print(d.name, "open", now() - t)
    t = now()
    let model = try LanguageModel(folder, on: d, options: ModelOptions(context: 512, batch: 128, cacheFormat: .f32, precision: .single, outputs: 1, profiles: profiles))
    print("load", now() - t, model.executable.memory)
    func run(_ ids: [Int32], _ position: Int) throws -> [Float] {
        var batch = Batch()
        for (i, id) in ids.enumerated() { batch.append(id, position: position + i, wantsOutput: i == ids.count - 1) }
        try model.executable.run(batch)
        var values = [Float](repeating: 0, count: model.logits.length)
        var span = values.mutableSpan
        try model.executable.read(model.logits, row: 0, into: &span)
        return values
    }
    let prompt = (0..<prefill).map { Int32(($0 * 7919 + 13) % 40000) }
    t = now()
    _ = try run(prompt, 0); print("first prefill", now() - t)
    t = now(); _ = try run([5], prefill); print("first decode", now() - t)
    model.executable.resetTimings()
    t = now(); var c = cpu()
    let first = try run(prompt, 0)
    let pt = now() - t, pc = cpu() - c
    print("prefill \(prefill): \(Double(prefill) / pt) tok/s, cpu \(pc / Double(prefill) * 1000) ms/tok")
    if profiles { for x in model.executable.timings { print("   ", x.name, x.count, x.duration) }; model.executable.resetTimings() }
    logits[name] = [first]
    var next = Int32(first.indices.max { first[$0] < first[$1] }!)
    t = now(); c = cpu()
    for i in 0..<decode {
        let v = try run([next], prefill + i)
        logits[name]!.append(v)
        next = Int32(v.indices.max { v[$0] < v[$1] }!)
    }
    print("decode \(decode): \(Double(decode) / (now() - t)) tok/s, cpu \((cpu() - c) / Double(decode) * 1000) ms/tok")
    if profiles { for x in model.executable.timings { print("   ", x.name, x.count, x.duration) } }
}
if logits.count > 1, let a = logits["cpu"] {
    for (name, b) in logits where name != "cpu" {
        let d = zip(a, b).map { zip($0, $1).map { abs($0 - $1) }.max()! }
        print(name, "largest difference of logits", d.max()!, "of", a[0].map(abs).max()!)
    }
}
