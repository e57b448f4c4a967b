//! rtnetlink as bytes: a push-style writer, a bounds-checked reader, and a client that matches
//! answers to requests by their sequence number.

pub(crate) mod client;
pub(crate) mod consts;
pub(crate) mod read;
pub(crate) mod socket;
pub(crate) mod write;

pub(crate) use client::{
    BATCH, DumpProgress, Nack, NetlinkError, RequestOutcome, RequestSocket, passes,
};
pub(crate) use read::{Malformed, Messages, NlAttrs, TcMsg};
pub(crate) use socket::{KernelSocket, Transport};
pub(crate) use write::Writer;

#[cfg(test)]
mod tests;
