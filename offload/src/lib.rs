//! The engine that places megaflows, its runtime and the megaflow command.
#![forbid(unsafe_code)]

pub mod clock;
pub mod cmd;
pub mod config;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod engine;
pub mod host;
pub mod http;
pub mod limits;
pub mod request;
pub mod runtime;
pub mod surface;
pub mod text;
pub mod wire;
