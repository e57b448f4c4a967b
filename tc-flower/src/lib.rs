//! Megaflows as Linux tc-flower filters on switchdev NICs.
#![forbid(unsafe_code)]

mod admission;
mod cookie;
mod decode;
mod device;
mod encode;
mod error;
mod explain;
#[cfg(test)]
mod fake;
mod feature;
mod links;
mod probe;
mod provider;
mod rule;
mod translate;
mod wire;

pub use admission::TcAdmission;
pub use device::{Device, DeviceSelector};
pub use error::TcError;
pub use links::{find, list};
pub use provider::{Clock, PortReport, TcOptions, TcProvider, survey};
pub use rule::{FlowerKey, Header, PeditWord, Rule, Signature, TcAction};
pub use translate::{PortDevice, Target, translate};
