//! Megaflows as Linux tc-flower filters on switchdev NICs.
#![forbid(unsafe_code)]

mod cookie;
mod decode;
mod encode;
mod error;
mod explain;
mod links;
mod rule;
mod translate;
mod wire;

pub use error::TcError;
pub use links::{Device, DeviceSelector, find, list};
pub use rule::{FlowerKey, Header, PeditWord, Rule, Signature, TcAction};
pub use translate::{PortDevice, Target, translate};
