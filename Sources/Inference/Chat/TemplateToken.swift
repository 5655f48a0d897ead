// SPDX-License-Identifier: Apache-2.0

/// A word of the language inside a tag.
struct TemplateToken: Hashable, Sendable {
    enum Kind: Hashable, Sendable {
        case name(String)
        case string(String)
        case integer(Int)
        case number(Double)
        case symbol(String)
    }
    let kind: Kind
    let line: Int
}

/// A stretch of a template.
enum TemplateSegment: Sendable {
    /// Text that is given out as it is.
    case text(String)
    /// `{{ … }}`
    case output([TemplateToken], line: Int)
    /// `{% … %}`
    case statement([TemplateToken], line: Int)
}
