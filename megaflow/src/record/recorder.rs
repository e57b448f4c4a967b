//! Writes a recording while the engine runs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use flow::{Admission, Capabilities, Megaflow, Moment, Provider, Refusals};
use offload::{Commands, Engine, Event, ProviderId};
use serde::Serialize;

use super::format::{FORM, FirstLine, LastLine, Ruled, Ruling, WrittenStep};
use super::setup::Setup;

/// Number of steps that may wait for the writer's thread.
const WAITING: usize = 512;
/// Bytes that are kept free for the last line.
const LAST_LINE: u64 = 128;

/// A new file for a recording. Dropping this value removes the file.
pub struct RecordFile {
    /// `None` once the recording has begun.
    file: Option<File>,
    path: PathBuf,
    limit: u64,
}

impl RecordFile {
    /// Makes the file, which must not exist: a recording is never written over. It will have at
    /// most `limit` bytes. Its owner alone can read it, since it has packets in it.
    pub fn create(path: &Path, limit: u64) -> io::Result<RecordFile> {
        let opened = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let text = format!("{} exists: name a new file for the recording", path.display());
                io::Error::new(error.kind(), text)
            }
            _ => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
        })?;
        Ok(RecordFile { file: Some(file), path: path.to_owned(), limit })
    }
}

impl Drop for RecordFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the engine of these providers, and records its steps if there is a file for them.
pub fn recorded(
    setup: &Setup,
    providers: &[Box<dyn Provider>],
    file: Option<RecordFile>,
) -> io::Result<(Engine, Option<Recorder>)> {
    let mut admissions: Vec<_> = providers.iter().map(|provider| provider.admission()).collect();
    let start = |file| Recorder::start(file, setup, &mut admissions);
    let recorder = file.map(start).transpose()?;
    Ok((setup.engine(&admissions), recorder))
}

/// A step that waits to be written.
struct Step {
    at: Moment,
    event: Event,
    rulings: Vec<Ruling>,
    out: Commands,
}

/// Records the steps of an engine. Dropping this value writes the rest, which ends the recording.
pub struct Recorder {
    /// `None` when the recording has ended.
    steps: Option<Sender<Step>>,
    rulings: Rulings,
    /// The writer could not follow.
    is_behind: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Begins a recording of an engine that has this setup and these admissions, each of which
    /// gives place to one that is listened to.
    pub fn start(
        mut file: RecordFile,
        setup: &Setup,
        admissions: &mut [Arc<dyn Admission>],
    ) -> io::Result<Recorder> {
        let header = FirstLine {
            recording: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            setup: setup.clone(),
            capabilities: admissions.iter().map(|a| a.capabilities().clone()).collect(),
        };
        let opened = file.file.take().ok_or_else(|| io::Error::other("the file is in use"))?;
        let (out, path) = (BufWriter::new(opened), file.path.clone());
        let limit = file.limit.saturating_sub(LAST_LINE);
        let mut writer = Writer { out, path, limit, written: 0, steps: 0 };
        if !writer.line(&header)? {
            return Err(io::Error::other("the limit of the recording is too small for any step"));
        }
        let (steps, written) = bounded(WAITING);
        let is_behind = Arc::new(AtomicBool::new(false));
        let told = is_behind.clone();
        let thread = Builder::new().name("record".to_owned());
        let writer = thread.spawn(move || writer.run(&written, &told))?;
        let recorder = Recorder {
            steps: Some(steps),
            rulings: Rulings(Arc::new(Mutex::new(Some(Vec::new())))),
            is_behind,
            writer: Some(writer),
        };
        for (provider, admission) in admissions.iter_mut().enumerate() {
            *admission = recorder.listen(ProviderId(provider), admission.clone());
        }
        Ok(recorder)
    }

    /// Has the engine make a step, and records it. Never waits.
    pub fn step(&mut self, engine: &mut Engine, event: Event, now: Moment) -> Commands {
        let Some(steps) = &self.steps else { return engine.step(event, now) };
        let event = match event {
            Event::Admission { provider, admission } => {
                Event::Admission { provider, admission: self.listen(provider, admission) }
            }
            Event::Opened { provider, admission } => {
                Event::Opened { provider, admission: self.listen(provider, admission) }
            }
            event => event,
        };
        let taken = event.clone();
        let out = engine.step(event, now);
        let step = Step { at: now, event: taken, rulings: self.rulings.take(), out: out.clone() };
        if let Err(error) = steps.try_send(step) {
            self.is_behind.store(error.is_full(), Ordering::SeqCst);
            self.steps = None;
            self.rulings.close();
        }
        out
    }

    fn listen(&self, provider: ProviderId, admission: Arc<dyn Admission>) -> Arc<dyn Admission> {
        Arc::new(Heard { provider, admission, rulings: self.rulings.clone() })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// What admissions have answered since the last step; `None` when nobody listens any more.
#[derive(Clone)]
struct Rulings(Arc<Mutex<Option<Vec<Ruling>>>>);

impl Rulings {
    fn add(&self, ruling: impl FnOnce() -> Ruling) {
        if let Some(rulings) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            rulings.push(ruling());
        }
    }

    fn take(&self) -> Vec<Ruling> {
        let mut rulings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rulings.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// An admission that is listened to.
struct Heard {
    provider: ProviderId,
    admission: Arc<dyn Admission>,
    rulings: Rulings,
}

impl Heard {
    fn note(&self, flow: &Megaflow, ruled: impl FnOnce() -> Ruled) {
        let (provider, ufid) = (self.provider, flow.ufid);
        self.rulings.add(|| Ruling { provider, ufid, ruled: ruled() });
    }
}

impl Admission for Heard {
    fn capabilities(&self) -> &Capabilities {
        self.admission.capabilities()
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        let said = self.admission.admit(flow);
        self.note(flow, || Ruled::Admit(said.clone()));
        said
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        let said = self.admission.explain(flow);
        self.note(flow, || Ruled::Explain(said.clone()));
        said
    }
}

/// The writer's thread.
struct Writer {
    out: BufWriter<File>,
    path: PathBuf,
    /// The number of bytes behind which only the last line comes.
    limit: u64,
    written: u64,
    steps: u64,
}

impl Writer {
    fn run(mut self, steps: &Receiver<Step>, is_behind: &AtomicBool) {
        let path = self.path.clone();
        let ended = self.write(steps).and_then(|has_room| {
            let behind = is_behind.load(Ordering::SeqCst);
            let (end, is_early) = match (has_room, behind) {
                (false, _) => ("the recording has the size of its limit", true),
                (true, true) => ("the file could not be written as fast as the engine ran", true),
                (true, false) => ("the daemon stopped", false),
            };
            self.limit += LAST_LINE;
            self.line(&LastLine { end: end.to_owned() })?;
            self.out.flush()?;
            Ok(is_early.then_some(end))
        });
        let (path, steps) = (path.display(), self.steps);
        match ended {
            Ok(None) => tracing::info!(%path, steps, "the recording is complete"),
            Ok(Some(why)) => {
                tracing::warn!(%path, steps, "the recording ends, the daemon goes on: {why}");
            }
            Err(error) => {
                tracing::warn!(%path, steps, "the recording ends, the daemon goes on: {error}");
            }
        }
    }

    /// Writes what comes. Returns false if the file has no room for the next step.
    fn write(&mut self, steps: &Receiver<Step>) -> io::Result<bool> {
        loop {
            let step = match steps.try_recv() {
                Err(TryRecvError::Empty) => {
                    // What there is can be read while the daemon runs, or after it has died.
                    self.out.flush()?;
                    steps.recv().ok()
                }
                received => received.ok(),
            };
            let Some(Step { at, event, rulings, out }) = step else { return Ok(true) };
            let number = self.steps + 1;
            let has_room = self.line(&WrittenStep {
                step: number,
                at,
                event: &event,
                rulings: &rulings,
                commands: &out.commands,
                replies: &out.replies,
            })?;
            if !has_room {
                return Ok(false);
            }
            self.steps = number;
        }
    }

    /// Writes a line. Returns false if there is no room for it.
    fn line(&mut self, line: &impl Serialize) -> io::Result<bool> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let written = self.written + text.len() as u64;
        let has_room = written <= self.limit;
        if has_room {
            self.out.write_all(&text)?;
            self.written = written;
        }
        Ok(has_room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody takes the steps: the engine does not wait, and the recording says why it ends.
    #[test]
    fn a_writer_that_can_not_follow_ends_the_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps");
        let out = BufWriter::new(File::create(&path).unwrap());
        let (steps, waiting) = bounded(2);
        let mut recorder = Recorder {
            steps: Some(steps),
            rulings: Rulings(Arc::new(Mutex::new(Some(Vec::new())))),
            is_behind: Arc::default(),
            writer: None,
        };
        let client = Box::new(pipeline::none::NoClient);
        let mut engine =
            Engine::new(offload::Settings::default(), client, Box::new(offload::ByRate));
        for _ in 0..5 {
            recorder.step(&mut engine, Event::Tick, Moment(1));
        }
        assert!(recorder.steps.is_none() && recorder.rulings.take().is_empty());
        let writer = Writer { out, path: path.clone(), limit: 1 << 20, written: 0, steps: 0 };
        writer.run(&waiting, &recorder.is_behind);
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].contains("as fast as the engine ran"), "{text}");
    }
}
