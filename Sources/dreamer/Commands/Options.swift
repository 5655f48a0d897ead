// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// A number of bytes as people write it: `64MiB`, `500k`.
struct ByteCount: ExpressibleByArgument {
    let value: Int

    init(_ value: Int) {
        self.value = value
    }

    init?(argument: String) {
        guard let value = Units.parseBytes(argument) else { return nil }
        self.value = value
    }

    var defaultValueDescription: String { Units.bytes(value).replacing(" ", with: "").replacing(".0", with: "") }
}
