// SPDX-License-Identifier: Apache-2.0

import AsyncHTTPClient

/// One failed try: what to report if it was the last, and whether another may succeed.
struct OriginFailure: Error {
    let error: OriginError
    let mayPass: Bool
    /// How long the server asks to wait.
    var pause: Duration?

    init(error: OriginError, mayPass: Bool, pause: Duration? = nil) {
        (self.error, self.mayPass, self.pause) = (error, mayPass, pause)
    }

    /// Sorts what a try threw. Cancellation and what the caller's own code threw are thrown on.
    init(_ thrown: any Error, url: String) throws {
        switch thrown {
        case let failure as OriginFailure: self = failure
        case let error as OriginError:
            self.init(error: error, mayPass: error.code == .truncated || error.code == .timedOut)
        case let error as HTTPClientError: try self.init(error, url: url)
        case is CancellationError, is Transfer.ConsumerFailure: throw thrown
        default:
            // Errors of sockets, TLS and HTTP parsing: an answer cut short is one of the last.
            try Task.checkCancellation()
            self.init(error: OriginError(.truncated, url: url, detail: "\(thrown)"), mayPass: true)
        }
    }

    private init(_ error: HTTPClientError, url: String) throws {
        switch error {
        case .cancelled, .requestStreamCancelled: throw CancellationError()
        case .readTimeout, .writeTimeout, .deadlineExceeded, .connectTimeout, .tlsHandshakeTimeout,
            .getConnectionFromPoolTimeout:
            self.init(error: OriginError(.timedOut, url: url), mayPass: true)
        case .remoteConnectionClosed, .uncleanShutdown:
            self.init(error: OriginError(.truncated, url: url, detail: "\(error)"), mayPass: true)
        case .redirectLimitReached, .redirectCycleDetected:
            self.init(error: OriginError(.refused, url: url, detail: "the server redirects in circles"), mayPass: false)
        case .invalidURL, .emptyHost, .emptyScheme:
            self.init(error: OriginError(.invalidURL, url: url), mayPass: false)
        case .alreadyShutdown: throw CancellationError()
        default: self.init(error: OriginError(.invalidResponse, url: url, detail: "\(error)"), mayPass: false)
        }
    }
}
