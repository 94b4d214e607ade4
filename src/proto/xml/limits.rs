//! Bounds on what one document may hold.

/// Bounds on one document.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Deepest nesting, the root being at depth 1.
    pub depth: usize,
    /// Attributes (declarations included) per element. As many declarations as this and `depth`
    /// together may be in scope anywhere.
    pub attributes: usize,
    /// Children of a `<body/>`.
    pub children: usize,
    /// Bytes that all children together may inherit from the `<body/>`.
    pub inherited: usize,
}

impl Limits {
    /// No bounds, for what has been accepted before.
    pub(in crate::proto) const NONE: Self = Self {
        depth: usize::MAX,
        attributes: usize::MAX,
        children: usize::MAX,
        inherited: usize::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 100,
            attributes: 128,
            children: 4096,
            inherited: 512 << 10,
        }
    }
}
