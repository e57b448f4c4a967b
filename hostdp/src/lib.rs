//! The host datapath: what forwards every packet that hardware does not.
#![deny(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::too_many_lines
    )
)]

pub mod classifier;
mod hash;
pub mod drops;
#[cfg(test)]
mod testing;
