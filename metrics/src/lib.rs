//! The Prometheus exporter: what the daemon counts, as plain data, and its text form.
//!
//! The engine fills a [`Snapshot`]; [`encode`] turns it into Prometheus text. What exists is one
//! table, [`FAMILIES`]: the encoder walks it, and the reference page is written from it. No ufid,
//! address or recirculation id is ever a label, and every enumerated label value starts at zero.
#![forbid(unsafe_code)]

mod encode;
mod family;
mod reference;
mod snapshot;

pub use encode::{CONTENT_TYPE, encode};
pub use family::{FAMILIES, Family, Kind};
pub use reference::reference;
pub use snapshot::{Direction, OperationMetrics, PortMetrics, ProviderMetrics, Snapshot, Traffic};
