// SPDX-License-Identifier: Apache-2.0
import Foundation
import Inference
import RDRR
import TextService
import Wire

/// A server on loopback with a small model of random weights, behind a gate.
final class Scene: Sendable {
    let gate = Gate()
    let server: TextServer
    let engine: GenerationEngine
    let model: ServedModel

    init(
        parallel: Int = 2, queue: Int = 64, isOpen: Bool = true, key: String? = nil, origins: Set<String> = [],
        limits: ServerLimits = ServerLimits()
    ) async throws {
        let folder = try SmallModel.shared.get()
        let language = try LanguageModel(
            folder, on: GatedDevice(gate), options: ModelOptions(context: 128, sequences: parallel, batch: 256))
        engine = try GenerationEngine(language, tokenizer: Tokenizer(folder), queueLimit: queue)
        model = ServedModel(folder, engine: engine, name: "tiny/model")
        var configuration = TextServer.Configuration(
            access: try AccessPolicy(
                listeningAt: .loopbackV4, key: key.flatMap { APIKey($0.utf8) }, allowedOrigins: origins))
        configuration.limits = limits
        server = try await TextServer.start(model, host: "127.0.0.1", port: 0, configuration: configuration)
        if isOpen { gate.open() }
    }

    // The engine's thread must not stand before the gate for ever.
    deinit { gate.open() }

    /// Stops the server.
    func end() async {
        gate.open()
        await server.stop()
    }

    func client() throws -> Client { try Client(server.port) }

    /// The tokens that end texts, forbidden: so that texts are as long as they are asked for.
    var endless: String {
        let members = engine.tokenizer.endOfGeneration.map { "\"\($0)\": -100" }
        return "\"logit_bias\": {\(members.joined(separator: ", "))}"
    }

    /// A request for so many tokens, the likeliest ones.
    func body(_ count: Int, _ more: String = "") -> String {
        #"{"prompt": "hello", "temperature": 0, "max_tokens": \#(count), \#(endless)"#
            + "\(more.isEmpty ? "" : ", ")\(more)}"
    }

    /// The same of a conversation.
    func chat(_ count: Int, _ more: String = "") -> String {
        #"{"messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": \#(count), \#(endless)"#
            + "\(more.isEmpty ? "" : ", ")\(more)}"
    }
}

/// A model that is packed once for all tests.
private enum SmallModel {
    private static let path =
        FileManager.default.temporaryDirectory.appending(path: "text-service-\(UUID().uuidString)").path

    static let shared = Result {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        // What is static is never let go.
        atexit { try? FileManager.default.removeItem(atPath: SmallModel.path) }
        try SyntheticModel(size: 400_000, seed: 3).write(to: "\(path)/model.gguf")
        return try ModelPacker.pack("\(path)/model.gguf", to: "\(path)/model").folder
    }
}
