// SPDX-License-Identifier: Apache-2.0

/// Why something cannot be computed: what is wrong, and where.
public struct ComputeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Kinds of errors; more may come.
    public struct Code: Hashable, Sendable {
        private let name: String

        /// Sizes that do not fit each other.
        public static let shape = Code(name: "shape")
        /// A format that is not known, or not for this use.
        public static let format = Code(name: "format")
        /// Weights that are not there.
        public static let missing = Code(name: "missing")
        /// The system refuses what is needed: memory or threads.
        public static let system = Code(name: "system")
        /// A device that is not there, or lacks what is needed.
        public static let unavailable = Code(name: "unavailable")
        /// More memory than the device has left.
        public static let outOfMemory = Code(name: "outOfMemory")
        /// The device is gone, with all that was on it.
        public static let deviceLost = Code(name: "deviceLost")
    }

    /// What kind of error it is.
    public let code: Code
    /// What is wrong, for people.
    public let message: String

    /// An error of a kind.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// What the user can do.
    public var advice: String {
        switch code {
        case .shape, .format: "get the model again, or use another one"
        case .missing: "fetch the model again"
        case .system: "end other programs"
        case .unavailable: "install a driver of Vulkan 1.2, or use the processor"
        case .outOfMemory: "use a shorter context, a smaller format for keys and values, or a smaller model"
        case .deviceLost: "load the model again, or use the processor"
        default: "use another device"
        }
    }

    /// The fault in one line.
    public var description: String { "\(message) (\(advice))" }
}
