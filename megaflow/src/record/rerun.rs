//! Runs a fresh engine over a recording.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow::{Admission, Capabilities, Megaflow, Reason, Refusal, Refusals, Subject};
use offload::{Engine, Event, ProviderId};
use serde::{Deserialize, Serialize};

use super::format::{FORM, FirstLine, LastLine, ReadStep, Ruled, Ruling};

/// Longest line that is read. The longest that is written have the frames of one batch of upcalls.
const LONGEST: u64 = 64 << 20;
/// Number of characters that are shown before the place where two texts differ, and behind it.
const SHOWN: (usize, usize) = (80, 160);

/// What a run over a recording found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rerun {
    /// Number of steps whose commands and replies were the same.
    pub steps: u64,
    /// Why the recording ends; `None` if a difference ended the run.
    pub end: Option<String>,
    /// The first difference.
    pub difference: Option<Difference>,
}

/// A difference between a recording and the run over it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The number of the step; the first one has 1.
    pub step: u64,
    /// What is not the same: `commands`, `replies` or `rulings` (what the engine asked of the
    /// providers' admissions).
    pub what: &'static str,
    /// The recorded text from shortly before the first difference on.
    pub recorded: String,
    /// The text of this run from the same place on.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { step, what, recorded, now } = self;
        write!(f, "step {step}: other {what}: recorded {recorded} and now {now}")
    }
}

/// Runs a fresh engine over a recording and compares what comes out, byte for byte, up to the
/// first difference. An error is one line that names the line of the recording.
pub fn rerun(recording: impl BufRead) -> Result<Rerun, String> {
    let mut lines = Lines { recording, number: 0, text: Vec::new() };
    let FirstLine { recording, setup, capabilities, .. } =
        lines.next()?.ok_or("the file is empty")?.read()?;
    if recording != FORM {
        return Err(format!("a recording of form {recording}; this program reads form {FORM}"));
    }
    if capabilities.len() != setup.providers.len() {
        return Err("line 1: not one set of capabilities for each provider".to_owned());
    }
    let script = Script::default();
    let admissions: Vec<Arc<dyn Admission>> =
        (0..).map(ProviderId).zip(capabilities).map(|(id, c)| script.admission(id, c)).collect();
    let mut engine = setup.engine(&admissions);
    let mut steps = 0;
    loop {
        let cut = || format!("cut off after step {steps}; the steps up to there are the same");
        let line = lines.next()?.ok_or_else(cut)?;
        if line.text.starts_with(br#"{"end":"#) {
            let LastLine { end } = line.read()?;
            return Ok(Rerun { steps, end: Some(end), difference: None });
        }
        let read: ReadStep<'_> = line.read()?;
        if read.step != steps + 1 {
            return Err(format!("line {}: step {} follows {steps}", line.number, read.step));
        }
        if let Some(difference) = step(&mut engine, &script, read)? {
            return Ok(Rerun { steps, end: None, difference: Some(difference) });
        }
        steps += 1;
    }
}

/// Makes one step. Returns the difference, if there is one.
fn step(
    engine: &mut Engine,
    script: &Script,
    read: ReadStep<'_>,
) -> Result<Option<Difference>, String> {
    let ReadStep { step, at, event, rulings, commands, replies } = read;
    script.lock().0 = rulings.into();
    let event = match event {
        Event::Admission { provider, admission } => {
            let admission = script.admission(provider, admission.capabilities().clone());
            Event::Admission { provider, admission }
        }
        Event::Opened { provider, admission } => {
            let admission = script.admission(provider, admission.capabilities().clone());
            Event::Opened { provider, admission }
        }
        event => event,
    };
    let out = engine.step(event, at);
    let unasked = std::mem::take(&mut *script.lock());
    let differs = |what, recorded: &str, now: &str| {
        let (recorded, now) = from_difference(recorded, now);
        Some(Difference { step, what, recorded, now })
    };
    if let Some(asked) = unasked.1 {
        return Ok(differs("rulings", &text(&unasked.0.front())?, &asked));
    }
    if let Some(ruling) = unasked.0.front() {
        return Ok(differs("rulings", &text(ruling)?, "nothing was asked"));
    }
    for (what, recorded, now) in [
        ("commands", commands.get(), text(&out.commands)?),
        ("replies", replies.get(), text(&out.replies)?),
    ] {
        if recorded != now {
            return Ok(differs(what, recorded, &now));
        }
    }
    Ok(None)
}

fn text(of: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(of).map_err(|error| error.to_string())
}

/// The part of both texts around the first character that is not the same.
fn from_difference(recorded: &str, now: &str) -> (String, String) {
    let same = recorded.chars().zip(now.chars()).take_while(|(a, b)| a == b).count();
    let (before, behind) = SHOWN;
    let start = same.saturating_sub(before);
    let part = |text: &str| {
        let shown: String = text.chars().skip(start).take(same - start + behind).collect();
        let left = text.chars().count().saturating_sub(start + shown.chars().count());
        let (begin, end) = (if start > 0 { "…" } else { "" }, if left > 0 { "…" } else { "" });
        format!("{begin}{shown}{end}")
    };
    (part(recorded), part(now))
}

/// The lines of a recording, one at a time.
struct Lines<R> {
    recording: R,
    number: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The next line; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Line<'_>>, String> {
        self.number += 1;
        self.text.clear();
        let mut limited = (&mut self.recording).take(LONGEST);
        let length = limited.read_until(b'\n', &mut self.text);
        let length = length.map_err(|error| format!("line {}: {error}", self.number))?;
        match self.text.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(Line { number: self.number, text: &self.text })),
            Some(_) if length as u64 == LONGEST => {
                Err(format!("line {}: longer than {} MiB", self.number, LONGEST >> 20))
            }
            Some(_) => Err(format!("line {}: the recording was cut off here", self.number)),
        }
    }
}

struct Line<'a> {
    number: u64,
    text: &'a [u8],
}

impl<'a> Line<'a> {
    fn read<T: Deserialize<'a>>(&self) -> Result<T, String> {
        serde_json::from_slice(self.text).map_err(|error| {
            // Each line is a text of its own for the parser.
            let why = error.to_string().replace(" at line 1 column ", " at column ");
            format!("line {}: {why}", self.number)
        })
    }
}

/// The recorded rulings of the current step that were not asked for yet, and the first question
/// that the recording does not answer.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(VecDeque<Ruling>, Option<String>)>>);

impl Script {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Ruling>, Option<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admission(&self, provider: ProviderId, capabilities: Capabilities) -> Arc<dyn Admission> {
        Arc::new(Scripted { provider, capabilities, script: self.clone() })
    }
}

/// An admission that answers as it did when the recording was made.
struct Scripted {
    provider: ProviderId,
    capabilities: Capabilities,
    script: Script,
}

impl Scripted {
    /// The next recorded ruling, if it is about this megaflow and of the right kind.
    fn next<T>(
        &self,
        flow: &Megaflow,
        question: &str,
        of: impl FnOnce(Ruled) -> Option<Result<T, Refusals>>,
    ) -> Result<T, Refusals> {
        let mut script = self.script.lock();
        let is_next = |next: &&Ruling| next.provider == self.provider && next.ufid == flow.ufid;
        let next = script.0.front().filter(is_next).cloned();
        if let Some(said) = next.and_then(|next| of(next.ruled)) {
            script.0.pop_front();
            return said;
        }
        let asked = format!("{question} {} of provider {}", flow.ufid, self.provider.0);
        script.1.get_or_insert(asked);
        Err(Refusal::new(Reason::Device, Subject::Device).into())
    }
}

impl Admission for Scripted {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        self.next(flow, "admit", |ruled| match ruled {
            Ruled::Admit(said) => Some(said),
            Ruled::Explain(_) => None,
        })
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        self.next(flow, "explain", |ruled| match ruled {
            Ruled::Explain(said) => Some(said),
            Ruled::Admit(_) => None,
        })
    }
}
