//! Why a megaflow is not in hardware.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $code:literal;)*) => {
        /// The kind of a refusal. The code is stable: metrics and scripts use it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// All of them: metrics start each at zero.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code,)* }
            }
        }
    };
}

reasons! {
    /// A field that the provider cannot match on at all.
    MatchField "match-field";
    /// A field that the provider can match on, but not under this mask.
    MatchMask "match-mask";
    /// A field that the provider can match on under this mask, but not with this value or not
    /// together with the rest of the match.
    MatchValue "match-value";
    /// An action that the provider does not have.
    Action "action";
    /// A `set` of a field that the provider cannot rewrite.
    SetField "set-field";
    /// Actions that the provider has, but not in this order or number.
    ActionList "action-list";
    /// A port of the match or of an output that is not on this device.
    Port "port";
    /// The recirculation chain leaves what the provider can follow.
    Recirculation "recirculation";
    /// There is no room: the table, the masks, the counters or the action memory are full.
    TableFull "table-full";
    /// The device or the kernel refused for a reason of its own, whose text is in the detail.
    Device "device";
    /// The device does not answer or is gone.
    DeviceGone "device-gone";
    /// The device echoed something other than what was asked for.
    Echo "echo";
    /// Somebody else's rule in the device is looked up first.
    Shadowed "shadowed";
    /// The operator or a policy keeps the megaflow on the host.
    Policy "policy";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a megaflow is not in hardware: for machines the reason and the subject, for people the
/// whole as text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Refusal {
    /// The kind.
    pub reason: Reason,
    /// The field, action, port, table or limit at fault.
    pub subject: String,
    /// What the device said, or what would make it possible; may be empty.
    pub detail: String,
}

impl Refusal {
    /// A refusal without a detail.
    #[must_use]
    pub fn new(reason: Reason, subject: impl Into<String>) -> Refusal {
        Refusal { reason, subject: subject.into(), detail: String::new() }
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Refusal {
        self.detail = detail.into();
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.reason, self.subject)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// All reasons why a megaflow is not in hardware, in the order in which they were found.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Refusals {
    /// The first reason; there is at least one.
    pub first: Refusal,
    /// The other reasons.
    pub more: Vec<Refusal>,
}

impl Refusals {
    /// All reasons in order.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

impl From<Refusal> for Refusals {
    fn from(first: Refusal) -> Refusals {
        Refusals { first, more: Vec::new() }
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        self.more.iter().try_for_each(|refusal| write!(f, "; {refusal}"))
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
            (said.reason, &said.subject) == (refusal.reason, &refusal.subject)
                && (said.detail.is_empty()
                    || refusal.detail.is_empty()
                    || said.detail == refusal.detail)
        };
        match self.0.iter_mut().find(about) {
            Some(said) if said.detail.is_empty() => *said = refusal,
            Some(_) => {}
            None => self.0.push(refusal),
        }
    }

    /// Returns the value of a result; adds the refusals of an error and returns `None`.
    pub fn keep<T>(&mut self, result: Result<T, impl Into<Refusals>>) -> Option<T> {
        result.map_err(|refusals| self.extend(refusals.into())).ok()
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
        Some(Refusals { first: reasons.next()?, more: reasons.collect() })
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

impl IntoIterator for Refusals {
    type Item = Refusal;
    type IntoIter = std::iter::Chain<std::iter::Once<Refusal>, std::vec::IntoIter<Refusal>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.first).chain(self.more)
    }
}
