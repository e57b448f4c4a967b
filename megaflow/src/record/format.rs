//! The lines of a recording.

use flow::{Capabilities, Moment, Refusals, Ufid};
use offload::{Command, Event, ProviderId, RequestError, Response, Token};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::setup::Setup;

/// The number of this form of a recording; another form gets another number.
pub(super) const FORM: u32 = 2;

/// The first line of a recording.
#[derive(Serialize, Deserialize)]
pub(super) struct FirstLine {
    /// [`FORM`].
    pub(super) recording: u32,
    /// The version of the program that recorded.
    pub(super) version: String,
    pub(super) setup: Setup,
    /// What each provider could do at the start.
    pub(super) capabilities: Vec<Capabilities>,
}

/// A step as it is written.
#[derive(Serialize)]
pub(super) struct WrittenStep<'a> {
    pub(super) step: u64,
    pub(super) at: Moment,
    pub(super) event: &'a Event,
    pub(super) rulings: &'a [Ruling],
    pub(super) commands: &'a [Command],
    pub(super) replies: &'a [(Token, Result<Response, RequestError>)],
}

/// A step as it is read: the texts of what came out stay as they are.
#[derive(Deserialize)]
pub(super) struct ReadStep<'a> {
    pub(super) step: u64,
    pub(super) at: Moment,
    pub(super) event: Event,
    pub(super) rulings: Vec<Ruling>,
    #[serde(borrow)]
    pub(super) commands: &'a RawValue,
    #[serde(borrow)]
    pub(super) replies: &'a RawValue,
}

/// The last line of a recording.
#[derive(Serialize, Deserialize)]
pub(super) struct LastLine {
    /// Why the recording ends.
    pub(super) end: String,
}

/// What an admission answered when the engine asked about a megaflow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Ruling {
    pub(super) provider: ProviderId,
    pub(super) ufid: Ufid,
    pub(super) ruled: Ruled,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Ruled {
    Admit(Result<(), Refusals>),
    Explain(Result<String, Refusals>),
}
