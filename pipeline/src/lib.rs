//! The clients that answer upcalls.
//!
//! - [`l2::Switch`]: a MAC-learning switch.
//! - [`none::NoClient`]: drops every upcall; flows come over the control socket only.
#![forbid(unsafe_code)]

pub mod l2;
pub mod none;

pub use l2::{L2Settings, Switch};
pub use none::NoClient;
