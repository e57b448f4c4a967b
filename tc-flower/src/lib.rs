//! Megaflows as Linux tc-flower filters on switchdev NICs.
#![forbid(unsafe_code)]

mod admission;
mod cookie;
mod decode;
mod device;
mod encode;
mod error;
mod explain;
#[cfg(any(test, feature = "fake"))]
#[cfg_attr(not(test), allow(dead_code, reason = "tests of this crate use all of it"))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "only tests use it")]
pub mod fake;
mod feature;
mod links;
mod netlink;
mod probe;
mod provider;
mod rule;
mod translate;

pub use admission::TcAdmission;
pub use device::{DeviceSelector, NetDevice};
pub use error::TcError;
pub use links::{find, list};
pub use provider::{PortReport, TcOptions, TcProvider, survey};
pub use rule::{FlowerKey, Header, PeditWord, Rule, Signature, TcAction};
pub use translate::{PortDevice, Target, translate};
