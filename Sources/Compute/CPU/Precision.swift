// SPDX-License-Identifier: Apache-2.0

/// How products with quantised weights are taken.
public enum Precision: String, CaseIterable, Sendable {
    /// Weights become single-precision numbers, and activations are that: differences to a reference are of rounding.
    case single
    /// Activations become integers of fifteen bits, 32 with a scale: several times as fast, and nearly as exact.
    case integers
}
