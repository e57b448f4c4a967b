//! The engine: one pure step function. The engine decides which megaflow lives in which place;
//! threads carry its commands out.
//!
//! Nothing here knows a socket, a clock, a lock or a random number: the same events at the same
//! moments give the same commands.
//!
//! The engine is a few parts, each with its own data:
//!
//! - `flows`: the megaflows and the indexes that find them;
//! - `dependents`: the client's megaflows by what they depend on, and what of it has changed;
//! - `placer`: the hardware providers, and the megaflows that wait for room in them;
//! - `rounds`: the rounds of statistics; `sweep`: the comparison of belief and reading in each;
//! - `ageing`: the client's megaflows, until they are idle;
//! - `account`: what one megaflow counted in devices; `books`: the sums;
//! - `waiters`: the requests that wait for an answer;
//! - `planner`: brings each megaflow from what is there to what is wanted, with the parts above;
//! - `engine`: takes the events in and asks the client;
//! - `walks`: what concerns all megaflows is done in slices, so that no step grows with their
//!   number.
#![forbid(unsafe_code)]

mod account;
mod ageing;
mod books;
mod dependents;
mod device;
mod engine;
mod event;
mod flows;
mod outbox;
mod placer;
mod planner;
mod policy;
mod queue;
mod ranks;
mod record;
mod request;
mod residence;
mod rounds;
mod sets;
mod settings;
mod sweep;
mod tally;
#[cfg(test)]
mod tests;
mod waiters;
mod walks;

pub use device::{Budget, QUEUE_LIMIT};
pub use engine::{DeviceView, Engine};
pub use event::{Answered, Cause, Command, Commands, Event, Place, ProviderId, UpcallPacket};
pub use policy::{ByRate, Policy};
pub use request::{
    Explanation, FlowPage, FlowView, Refused, Request, RequestError, Response, Standing, Token,
};
pub use settings::Settings;
pub use tally::{ProviderTally, Tally};

/// The name of the host table as a provider.
pub const HOST: &str = "host";
