//! The daemon and the `megaflow` command: the threads around the engine, the control socket, HTTP,
//! the page and the demo.
#![forbid(unsafe_code)]

pub mod cmd;
pub mod config;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod handle;
pub mod host;
pub mod http;
pub mod limits;
pub mod listeners;
pub mod namespace;
pub mod record;
pub mod runtime;
pub mod status;
pub mod text;
pub mod wire;
