// SPDX-License-Identifier: Apache-2.0
internal import Inference
internal import NIOCore
internal import Synchronization
internal import Wire

/// Answers requests, each in a task: cancelling it ends what is being generated.
struct RequestService: Sendable {
    let model: ServedModel

    /// Values that a body may hold: a prompt of tokens is the largest that is any use.
    private static let limits = JSON.Limits(depth: 64, values: 1 << 20)

    /// Answers a request; `parsed` is called once its body is not needed any more.
    func answer(_ exchange: Exchange, _ body: consuming ByteBuffer, parsed: () -> Void) async {
        do {
            guard exchange.refusal == nil, let route = exchange.route else {
                return try await exchange.send(exchange.refusal ?? APIError(404, "There is nothing here."))
            }
            switch route {
            case .text(let kind):
                let request: TextRequest
                do throws(APIError) {
                    request = try Self.request(kind, body)
                    body = ByteBuffer()
                    parsed()
                } catch {
                    return try await exchange.send(error)
                }
                try await text(request, exchange)
            case .health:
                guard model.engine.isRunning else { return try await exchange.send(Self.dead) }
                try await exchange.send(["status": "ok"])
            case .models: try await exchange.send(["object": "list", "data": [model.json]])
            case .model(let name):
                guard name == model.name else { return try await exchange.send(APIError.noModel(name)) }
                try await exchange.send(model.json)
            case .preflight: try await exchange.sendPreflight()
            }
        } catch {
            // What is left is that an answer could not be written.
            exchange.abort()
        }
    }

    private static let dead = APIError.unavailable("The engine has ended after a fault of the device.")

    private static func request(_ kind: TextRequest.Kind, _ body: ByteBuffer) throws(APIError) -> TextRequest {
        let json: JSON
        do throws(JSONError) {
            json = try body.withUnsafeReadableBytes { (bytes) throws(JSONError) in
                try JSON(parsing: RawSpan(_unsafeBytes: bytes), limits: limits)
            }
        } catch {
            throw APIError(400, "The body is no JSON: \(error).", code: "invalid_json")
        }
        return try TextRequest(kind, json)
    }

    // MARK: Texts

    private func text(_ request: TextRequest, _ exchange: Exchange) async throws {
        let answer: TextAnswer
        do throws(APIError) {
            guard model.engine.isRunning else { throw Self.dead }
            answer = try TextAnswer(request, of: model)
        } catch {
            return try await exchange.send(error)
        }
        let response = TextResponse(
            kind: request.kind, id: Self.identifier(request.kind), created: ServedModel.now, model: model.name,
            fingerprint: model.fingerprint, includesUsage: request.parameters.includesUsage,
            hasChances: request.parameters.topProbabilities != nil)
        if request.parameters.isStreamed {
            try await stream(answer, response, exchange)
        } else {
            try await whole(answer, response, exchange)
        }
    }

    private func whole(_ answer: TextAnswer, _ response: TextResponse, _ exchange: Exchange) async throws {
        let collected = Mutex((0..<answer.count).map { _ in TextChoice(finish: "stop") })
        let usage: TextUsage
        do {
            usage = try await answer.run { piece in
                collected.withLock {
                    $0[piece.index].text += piece.text
                    if let chance = piece.chance { $0[piece.index].chances.append(chance) }
                }
            } finish: { index, reason in
                collected.withLock { $0[index].finish = reason }
            }
        } catch {
            return try await exchange.send(APIError(error, parameter: "prompt"))
        }
        try await exchange.send(response.whole(collected.withLock { $0 }, usage))
    }

    private func stream(_ answer: TextAnswer, _ response: TextResponse, _ exchange: Exchange) async throws {
        // How many characters of each text's tokens were told.
        let offsets = Mutex(Array(repeating: 0, count: answer.count))
        try await exchange.beginEvents()
        for index in 0..<answer.count {
            if let opening = response.opening(index) { try await exchange.sendEvent(opening.serialized()) }
        }
        do {
            let usage = try await answer.run { piece in
                let offset = offsets.withLock { offsets in
                    defer { offsets[piece.index] += piece.chance?.own.text.unicodeScalars.count ?? 0 }
                    return offsets[piece.index]
                }
                let json = response.piece(piece.index, piece.text, piece.chance, offset: offset)
                try await exchange.sendEvent(json.serialized())
            } finish: { index, reason in
                try await exchange.sendEvent(response.closing(index, reason).serialized())
            }
            if let ending = response.ending(usage) { try await exchange.sendEvent(ending.serialized()) }
        } catch let error where error is APIError || error is CancellationError {
            // The status was sent long ago.
            try await exchange.sendEvent(APIError(error, parameter: "prompt").json.serialized())
            return try await exchange.endEvents()
        }
        try await exchange.sendEvent("[DONE]")
        try await exchange.endEvents()
    }

    private static func identifier(_ kind: TextRequest.Kind) -> String {
        let letters = Array("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        let random = String((0..<24).map { _ in letters[Int.random(in: 0..<letters.count)] })
        return (kind == .chat ? "chatcmpl-" : "cmpl-") + random
    }
}
