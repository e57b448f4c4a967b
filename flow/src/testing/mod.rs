//! Tools that put the contracts of this crate to the test. The demo uses them too.

pub mod conformance;
pub mod faulty;
