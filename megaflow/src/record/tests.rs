//! Seeded runs that are recorded, changed, damaged and run again.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flow::{
    Action, ActionKind, Admission, Capabilities, Field, FieldSupport, Key, Mask, Match, Megaflow,
    Moment, PortId, PortLink, ProviderError, Reason, Refusal, Stats, Subject, TableName,
    TableUsage, UpcallReason,
};
use offload::{Command, Event, Place, ProviderId, Request, Settings, Token, UpcallPacket};

use super::*;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

fn capabilities(actions: usize) -> Capabilities {
    Capabilities {
        fields: Field::ALL.iter().map(|field| (*field, FieldSupport::Masked)).collect(),
        actions: [ActionKind::Output].into(),
        // The third port is not on the device.
        ports: [PortId(1), PortId(2)].into(),
        max_actions: actions,
        ..Capabilities::default()
    }
}

fn packet(dice: &mut Dice, id: u64) -> UpcallPacket {
    let mut mac = || flow::MacAddr([2, 0, 0, 0, 0, dice.roll(12) as u8]);
    let (eth_src, eth_dst) = (mac(), mac());
    let in_port = 1 + dice.roll(3) as u32;
    let key = Key { in_port, eth_src, eth_dst, eth_type: 0x800, ..Key::default() };
    let id = (!id.is_multiple_of(7)).then_some(id);
    UpcallPacket { id, key: Box::new(key), frame: vec![0xab; 20], reason: UpcallReason::Miss }
}

fn request(dice: &mut Dice, token: u64) -> Event {
    let key = Key { in_port: 1 + dice.roll(3) as u32, eth_type: 0x806, ..Key::default() };
    let mask = Mask { eth_type: 0xffff, ..Mask::default() };
    let out = [Action::Output(PortId(1 + dice.roll(3) as u32))];
    let flow = Arc::new(Megaflow::new(Match::new(&key, &mask), out));
    let request = match dice.roll(7) {
        0 => Request::Install(flow),
        1 => Request::Remove(flow.ufid),
        2 => Request::Explain(flow),
        3 => Request::Flows { from: 0, most: 100 },
        4 => Request::FdbShow,
        5 => Request::Reconcile,
        _ => Request::Flow(flow.ufid),
    };
    Event::Request { token: Token(token), request }
}

/// What a place answers to a command.
fn answer(command: Command, dice: &mut Dice) -> Option<Event> {
    match command {
        Command::Apply { place, ops } => {
            let full = Refusal::new(Reason::TableFull, TableName::Flower);
            let odd = Refusal::new(Reason::Device, Subject::Tc)
                .detail(flow::Detail::of_number(&"it said {} and no more", 7));
            let mut result = || match (place, dice.roll(8)) {
                (Place::Nic(_), 0) => Err(ProviderError::Unsupported(odd.clone())),
                (Place::Nic(_), 1) => Err(ProviderError::Full(full.clone())),
                _ => Ok(Stats::default()),
            };
            let completions = ops.iter().map(|op| op.completed(result())).collect();
            Some(Event::Completed { place, completions })
        }
        Command::ReadStats(place) => {
            let table = TableName::Flower;
            let usage = TableUsage { table, holds_megaflows: true, entries: 9, capacity: Some(10) };
            Some(Event::Stats { place, stats: Ok(Vec::new()), tables: vec![usage] })
        }
        Command::Dump(provider) => Some(Event::Dumped { provider, found: Vec::new() }),
        Command::Resolve { .. } | Command::Execute { .. } | Command::Adopt { .. } => None,
    }
}

/// Records a run with everything in it; returns the recording.
fn record(path: &Path, seed: u64, limit: u64) -> String {
    let setup = Setup {
        client: ClientSetup::L2 { ageing: Duration::from_secs(300), max_entries: 10 },
        settings: Settings { stats_interval: Duration::from_millis(50), ..Settings::default() },
        providers: vec![ProviderSetup { name: "nic".to_owned(), inserts_per_second: 1000 }],
    };
    let mut admissions: Vec<Arc<dyn Admission>> = vec![Arc::new(capabilities(2))];
    let file = RecordFile::create(path, limit).unwrap();
    let mut recorder = Recorder::start(file, &setup, &mut admissions).unwrap();
    let mut engine = setup.engine(&admissions);
    let provider = ProviderId(0);
    let links = (1..=3).map(|id| PortLink { id: PortId(id), up: true }).collect();
    let opened = Event::Opened { provider, admission: Arc::new(capabilities(2)) };
    let mut events = VecDeque::from([Event::Ports(links), opened]);
    let mut dice = Dice(seed);
    for round in 0..120_u64 {
        events.push_back(match round % 4 {
            0 => Event::Upcalls((0..3).map(|n| packet(&mut dice, round * 4 + n)).collect()),
            1 => request(&mut dice, round),
            _ if round == 62 => Event::Admission { provider, admission: Arc::new(capabilities(1)) },
            _ => Event::Tick,
        });
        let mut left = 50;
        while let Some(event) = events.pop_front().filter(|_| left > 0) {
            let out = recorder.step(&mut engine, event, Moment(round * 7_000_000));
            events.extend(out.commands.into_iter().filter_map(|c| answer(c, &mut dice)));
            if events.is_empty() && engine.has_more() {
                events.push_back(Event::Advance);
            }
            left -= 1;
        }
    }
    drop(recorder);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_same_events_give_the_same_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (mut admits, mut refuses) = (0, 0);
    for seed in 0..20 {
        let text = record(&folder.path().join(seed.to_string()), seed, 1 << 30);
        let found = rerun(text.as_bytes()).unwrap();
        assert_eq!(found.difference, None, "seed {seed}");
        assert_eq!(found.end.as_deref(), Some("the daemon stopped"));
        assert_eq!(found.steps as usize + 2, text.lines().count(), "seed {seed}");
        admits += text.matches(r#""ruled":{"Admit":{"Ok":null}}"#).count();
        refuses += text.matches(r#""ruled":{"Admit":{"Err":["#).count();
    }
    assert!(admits > 20 && refuses > 20, "too tame: {admits} {refuses}");
}

/// The recording with one piece of one line changed.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn a_changed_recording_is_found_out_at_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let text = record(&folder.path().join("f"), 3, 1 << 30);
    let admit = r#""ruled":{"Admit":{"Ok":null}}"#;
    let refuse =
        r#""ruled":{"Admit":{"Err":[{"reason":"port","subject":"Device","detail":null}]}}"#;
    let explain = r#""ruled":{"Explain":{"Ok":""}}"#;
    for (from, to, what) in [
        (r#""eth_src":"0x2000000000"#, r#""eth_src":"0x2000000fff"#, "commands"),
        (admit, refuse, "commands"),
        (admit, explain, "rulings"),
        (r#""Reinject""#, r#""Else""#, "commands"),
    ] {
        let changed = changed(&text, from, to);
        let line = text.lines().zip(changed.lines()).position(|(a, b)| a != b).unwrap();
        let difference = rerun(changed.as_bytes()).unwrap().difference.expect(from);
        assert_eq!((difference.step as usize, difference.what), (line, what), "{difference}");
        assert_ne!(difference.recorded, difference.now);
        assert!(difference.to_string().chars().count() < 700, "{difference}");
    }
    let smaller = changed(&text, r#""max_entries":10"#, r#""max_entries":1"#);
    assert!(rerun(smaller.as_bytes()).unwrap().difference.is_some());
}

#[test]
fn a_damaged_recording_is_an_error_of_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = record(&folder.path().join("f"), 5, 1 << 30);
    let lines: Vec<&str> = text.lines().collect();
    for (damaged, says) in [
        (String::new(), "the file is empty"),
        (lines[..9].join("\n") + "\n", "cut off after step 8; the steps up to there are the same"),
        (text[..text.len() - 40].to_owned(), "the recording was cut off here"),
        ([&lines[..4], &lines[5..]].concat().join("\n") + "\n", "line 5: step 5 follows 3"),
        (changed(&text, r#""recording":2"#, r#""recording":7"#), "this program reads form 2"),
        (changed(&text, r#"{"step":2,"#, r#"{"step":2,,"#), "line 3: "),
        (changed(&text, r#""capabilities":[{"#, r#""capabilities":[],"x":[{"#), "line 1: not one"),
    ] {
        let error = rerun(damaged.as_bytes()).unwrap_err();
        assert!(error.contains(says) && error.lines().count() == 1, "{says}: {error}");
    }
    // Whatever the bytes are, the run over them ends in order.
    let mut dice = Dice(1);
    for _ in 0..300 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=dice.roll(4) {
            let place = dice.roll(bytes.len() as u64) as usize;
            match dice.roll(3) {
                0 => bytes[place] = dice.roll(256) as u8,
                1 => bytes[place] = b'0' + dice.roll(10) as u8,
                _ => bytes.truncate(place.max(1)),
            }
        }
        if let Err(error) = rerun(&bytes[..]) {
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

#[test]
fn a_recording_keeps_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let text = record(&folder.path().join("f"), 7, 20_000);
    assert!((15_000..=20_000).contains(&text.len()), "{}", text.len());
    let found = rerun(text.as_bytes()).unwrap();
    assert_eq!(found.difference, None);
    assert_eq!(found.end.as_deref(), Some("the recording has the size of its limit"));
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    drop(RecordFile::create(&path, 1 << 20).unwrap());
    assert!(!path.exists(), "nothing was recorded");
    std::fs::write(&path, "mine").unwrap();
    let error = RecordFile::create(&path, 1 << 20).err().unwrap().to_string();
    assert!(error.ends_with("f exists: name a new file for the recording"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}
