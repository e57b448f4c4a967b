//! The engine that places megaflows, its runtime and the megaflow command.
#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod engine;
pub mod http;
pub mod request;
