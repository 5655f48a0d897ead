// SPDX-License-Identifier: Apache-2.0
public import Swarm

extension HTTPOrigin: FallbackOrigin {
    /// A server that has no such file, or refuses it, will not have it a moment later.
    public func isPermanent(_ error: any Error) -> Bool {
        guard let error = error as? OriginError else { return false }
        return [.notFound, .refused, .invalidURL, .wrongSize, .tooLarge].contains(error.code)
    }
}
