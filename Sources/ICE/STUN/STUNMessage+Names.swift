// SPDX-License-Identifier: Apache-2.0

extension STUNMessage.Method {
    /// The RFC's name, or the number where it has none here.
    public var name: String {
        switch self {
        case .binding: "Binding"
        case .allocate: "Allocate"
        case .refresh: "Refresh"
        case .send: "Send"
        case .data: "Data"
        case .createPermission: "CreatePermission"
        case .channelBind: "ChannelBind"
        default: "method 0x" + String(rawValue, radix: 16)
        }
    }
}
