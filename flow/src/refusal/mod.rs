//! Why a megaflow is not in hardware.

use serde::{Deserialize, Serialize};

mod detail;
mod ovs_name;
mod page;
mod reason;
mod subject;

use std::fmt;
use std::sync::Arc;

pub use detail::{Detail, Full, Said, Unit, Words};
pub(crate) use ovs_name::OvsList;
pub use ovs_name::OvsName;
pub use page::page;
pub use reason::Reason;
pub use subject::Subject;

/// Why a megaflow is not in hardware, as data; shown, it is text for people. A clone allocates
/// nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind.
    pub reason: Reason,
    /// The field, action, port, table or limit at fault.
    pub subject: Subject,
    /// What the device said, or what would make it possible.
    pub detail: Detail,
}

impl Refusal {
    /// A refusal without a detail.
    #[must_use]
    pub fn new(reason: Reason, subject: impl Into<Subject>) -> Refusal {
        Refusal { reason, subject: subject.into(), detail: Detail::None }
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Detail>) -> Refusal {
        self.detail = detail.into();
        self
    }

    /// The same with what somebody outside the program said.
    #[must_use]
    pub fn said(self, text: impl Into<Said>) -> Refusal {
        self.detail(text.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.reason, self.subject)?;
        if self.detail == Detail::None { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// All reasons why a megaflow is not in hardware, in the order in which they were found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusals {
    /// The first reason; there is at least one.
    pub first: Refusal,
    /// The other reasons, which most megaflows do not have.
    more: Option<Arc<Vec<Refusal>>>,
}

impl Refusals {
    /// A reason and others behind it.
    #[must_use]
    pub fn new(first: Refusal, more: Vec<Refusal>) -> Refusals {
        Refusals { first, more: (!more.is_empty()).then(|| Arc::new(more)) }
    }

    /// All reasons in order.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        std::iter::once(&self.first).chain(self.more.iter().flat_map(|more| more.iter()))
    }
}

impl From<Refusal> for Refusals {
    fn from(first: Refusal) -> Refusals {
        Refusals::new(first, Vec::new())
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        self.iter().skip(1).try_for_each(|refusal| write!(f, "; {refusal}"))
    }
}

/// Collects all reasons against a megaflow, so that nobody has to correct one fault to learn of the
/// next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reasons(Vec<Refusal>);

impl Reasons {
    /// Adds a reason, unless the same reason and subject were added with the same or more detail.
    pub fn add(&mut self, refusal: Refusal) {
        let about = |said: &&mut Refusal| {
            (said.reason, said.subject) == (refusal.reason, refusal.subject)
                && (said.detail == Detail::None
                    || refusal.detail == Detail::None
                    || said.detail == refusal.detail)
        };
        match self.0.iter_mut().find(about) {
            Some(said) if said.detail == Detail::None => *said = refusal,
            Some(_) => {}
            None => self.0.push(refusal),
        }
    }

    /// Returns the value of a result; adds the refusals of an error and returns `None`.
    pub fn keep<T>(&mut self, result: Result<T, impl Into<Refusals>>) -> Option<T> {
        result.map_err(|refusals| self.extend(refusals.into().iter().cloned())).ok()
    }

    /// Number of reasons.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The reasons; `None` if there are none.
    #[must_use]
    pub fn into_refusals(self) -> Option<Refusals> {
        let mut reasons = self.0.into_iter();
        Some(Refusals::new(reasons.next()?, reasons.collect()))
    }

    /// Returns the value if there are no reasons, otherwise the reasons as an error.
    pub fn into_result<T>(self, value: T) -> Result<T, Refusals> {
        self.into_refusals().map_or(Ok(value), Err)
    }
}

impl Extend<Refusal> for Reasons {
    fn extend<I: IntoIterator<Item = Refusal>>(&mut self, refusals: I) {
        refusals.into_iter().for_each(|refusal| self.add(refusal));
    }
}

#[cfg(test)]
mod tests;
