//! What a question about overlaps has found.

/// Numbers of megaflows that overlap a match.
pub(super) struct Overlapped<'a> {
    pub(super) numbers: &'a mut Vec<u32>,
    /// The number of them with which the question is answered.
    pub(super) most: usize,
}

impl Overlapped<'_> {
    pub(super) fn is_full(&self) -> bool {
        self.numbers.len() >= self.most
    }
}
