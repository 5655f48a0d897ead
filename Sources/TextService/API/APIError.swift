// SPDX-License-Identifier: Apache-2.0
internal import Inference
public import Wire

/// Why a request is not answered: a status of HTTP, and what OpenAI's interface says in such a case.
public struct APIError: Error, Hashable, Sendable {
    /// The status of HTTP.
    public var status: Int
    /// What is wrong, in words.
    public var message: String
    /// The kind of error: `invalid_request_error`, `server_error` and the like.
    public var type: String
    /// The field that is meant.
    public var parameter: String?
    /// What programs look at: `model_not_found`, `context_length_exceeded` and the like.
    public var code: String?
    /// After how many seconds another try is worth it.
    public var retryAfter: Int?
    /// The methods that there are instead, where it is the method that is wrong.
    var allowedMethods: [String]?

    /// An error.
    public init(
        _ status: Int, _ message: String, type: String = "invalid_request_error", parameter: String? = nil,
        code: String? = nil, retryAfter: Int? = nil
    ) {
        self.status = status
        self.message = message
        self.type = type
        self.parameter = parameter
        self.code = code
        self.retryAfter = retryAfter
    }

    /// The error as it is sent: `{"error": {"message": …, "type": …, "param": …, "code": …}}`.
    public var json: JSON {
        [
            "error": [
                "message": .string(message), "type": .string(type), "param": parameter.map { .string($0) } ?? .null,
                "code": code.map { .string($0) } ?? .null,
            ]
        ]
    }
}

// MARK: - The errors there are

extension APIError {
    static func invalid(_ parameter: String, _ message: String) -> APIError {
        APIError(400, "\(parameter): \(message)", parameter: parameter, code: "invalid_value")
    }

    static func unsupported(_ parameter: String, _ message: String) -> APIError {
        APIError(400, "\(parameter): \(message)", parameter: parameter, code: "unsupported_parameter")
    }

    static func tooLong(_ message: String, _ parameter: String) -> APIError {
        APIError(400, message, parameter: parameter, code: "context_length_exceeded")
    }

    static func noModel(_ name: String) -> APIError {
        APIError(
            404, "The model “\(name.prefix(200))” is not served here; GET /v1/models names the one that is.",
            parameter: "model", code: "model_not_found")
    }

    static func unavailable(_ message: String) -> APIError {
        APIError(503, message, type: "server_error", code: "service_unavailable")
    }

    static let stopping = unavailable("The server is being stopped.")

    static func busy(_ message: String) -> APIError {
        // How long a text takes nobody knows; a second is the least that the header can say.
        APIError(429, message, type: "rate_limit_error", code: "queue_full", retryAfter: 1)
    }

    /// What went wrong with a text, for whoever asked for it; `parameter` is what it was asked with.
    init(_ error: any Error, parameter: String) {
        switch error {
        case let error as APIError: self = error
        case let error as InferenceError:
            switch error.code {
            case .tooLong: self = .tooLong("\(error)", parameter)
            case .invalidOption: self = APIError(400, "\(error)", parameter: parameter, code: "invalid_value")
            case .busy: self = .busy("\(error)")
            case .device: self = .unavailable("\(error)")
            case .unsupported, .missing, .mismatch, .invalidNumbers:
                self = APIError(500, "\(error)", type: "server_error")
            }
        case let error as SamplingError where error.code == .invalidOption:
            self = APIError(400, "\(error)", code: "invalid_value")
        case let error as TokenizerError where error.code == .tooLong: self = .tooLong("\(error)", parameter)
        case let error as TemplateError:
            self = APIError(
                400, "The model's chat template does not take this conversation: \(error)", parameter: parameter,
                code: "invalid_value")
        case is CancellationError: self = .stopping
        default: self = APIError(500, "\(error)", type: "server_error")
        }
    }
}
