//! What happens on a provider without an operation.

use serde::{Deserialize, Serialize};

/// Something that happened on a provider without an operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ProviderEvent {
    /// The device is gone; every entry in it with it.
    Gone(String),
    /// Somebody else changed the table, or a notification was lost, or the device's capabilities
    /// changed: the receiver reads the statistics, and tries again what the device refused.
    Changed,
    /// Somebody else changed or shadowed megaflows in the device. From then on the statistics leave
    /// these megaflows out.
    Corrected {
        /// The kind of the change.
        kind: Correction,
        /// Number of megaflows concerned.
        megaflows: u64,
        /// The first of these megaflows, and what is known about it, as text for people.
        first: String,
    },
}

/// A change that somebody else made to megaflows in a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Correction {
    /// Somebody put another rule in the place of ours, under our cookie.
    Altered,
    /// The device looks up somebody else's rule before ours, which takes the packets of ours.
    Shadowed,
}

impl Correction {
    /// All kinds.
    pub const ALL: [Correction; 2] = [Correction::Altered, Correction::Shadowed];

    /// The word for the change in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Correction::Altered => "altered",
            Correction::Shadowed => "shadowed",
        }
    }

    /// A sentence for the log that says what happened.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Correction::Altered => {
                "somebody changed rules of ours in the device; the daemon restores them"
            }
            Correction::Shadowed => {
                "rules that are not ours come first in the device; the host forwards instead"
            }
        }
    }
}
