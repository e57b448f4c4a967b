//! The suite can pass and fail: a tiny provider that is right passes, and each way of being wrong
//! is found by the check that is about it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::*;
use crate::odp;
use crate::provider::*;
use crate::table::{TableName, TableUsage};
use crate::traffic::PortTraffic;
use crate::{
    Action, Admission, Capabilities, Generation, PortId, Reason, Refusal, Refusals, Stats, Ufid,
};

/// A way to be wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Wrong {
    LosesAnEnd,
    EndsTwice,
    SwapsTags,
    LaterFirst,
    TakesFromTheBack,
    TakesTooMuch,
    TakesNothing,
    InstallsTwice,
    RemovesWhatIsAbsent,
    StopsAtAFailure,
    TakesWhatItRefuses,
    RefusesForAnotherReason,
    IsNeverFull,
    ForgetsTheRoom,
    TellsFinalCountsShort,
    CountsSinceTheLastReading,
    KeepsCountsInANewLife,
    TellsTheUndelivered,
    SkipsAtTheCut,
    RepeatsAtTheCut,
    TellsAllAtOnce,
    ResumesWhatWasGivenUp,
    NeverEndsAReading,
    ShowsAnOldGeneration,
    AdoptsAnything,
    MiscountsItsTable,
    AdmitsTooLittle,
    ReadsFromMemory,
    TellsAPortTwice,
    CountsPortsBackwards,
    ForgetsCountsAtARestart,
    ForgetsActionsAtARestart,
    DropsEndsWhenGone,
    ReadsWhenGone,
    TellsTwiceThatItIsGone,
    OpensWhatIsAway,
    KeepsEndsOverAReopening,
    LeavesSomethingBehind,
}

use Wrong::*;

/// Each way to be wrong, and the check that is about it.
const FOUND_BY: [(Wrong, &str); 38] = [
    (LosesAnEnd, "operations have exactly one end each"),
    (EndsTwice, "operations have exactly one end each"),
    (SwapsTags, "operations have exactly one end each"),
    (LaterFirst, "order for one ufid"),
    (TakesFromTheBack, "submit takes what there is room for"),
    (TakesTooMuch, "submit takes what there is room for"),
    (TakesNothing, "submit takes what there is room for"),
    (InstallsTwice, "exists and not found"),
    (RemovesWhatIsAbsent, "exists and not found"),
    (StopsAtAFailure, "exists and not found"),
    (TakesWhatItRefuses, "refusals are those of the admission"),
    (RefusesForAnotherReason, "refusals are those of the admission"),
    (IsNeverFull, "a full table"),
    (ForgetsTheRoom, "a full table"),
    (TellsFinalCountsShort, "final counters"),
    (CountsSinceTheLastReading, "final counters"),
    (KeepsCountsInANewLife, "final counters"),
    (TellsTheUndelivered, "readings and operations in flight"),
    (SkipsAtTheCut, "readings in parts"),
    (RepeatsAtTheCut, "readings in parts"),
    (TellsAllAtOnce, "readings in parts"),
    (NeverEndsAReading, "readings in parts"),
    (ResumesWhatWasGivenUp, "a reading that is given up"),
    (ShowsAnOldGeneration, "dump and adopt"),
    (AdoptsAnything, "dump and adopt"),
    (MiscountsItsTable, "dump and adopt"),
    (AdmitsTooLittle, "refusals are those of the admission"),
    (ReadsFromMemory, "what the device has lost"),
    (TellsAPortTwice, "counters of ports"),
    (CountsPortsBackwards, "counters of ports"),
    (ForgetsCountsAtARestart, "a process that dies, and the next one"),
    (ForgetsActionsAtARestart, "a process that dies, and the next one"),
    (DropsEndsWhenGone, "a device that goes and comes back"),
    (ReadsWhenGone, "a device that goes and comes back"),
    (TellsTwiceThatItIsGone, "a device that goes and comes back"),
    (OpensWhatIsAway, "a device that goes and comes back"),
    (KeepsEndsOverAReopening, "a device that goes and comes back"),
    (LeavesSomethingBehind, "close leaves nothing"),
];

struct Held {
    flow: Arc<Megaflow>,
    generation: Generation,
    hits: Counters,
}

/// A right provider, or one that is wrong in one way. The device is a map by the order of install.
struct Tiny {
    wrong: Option<Wrong>,
    held: BTreeMap<u64, Held>,
    next: u64,
    in_flight: VecDeque<Submission>,
    left: Vec<Completion>,
    cursor: Cursor,
    away: bool,
    gone: bool,
    told: usize,
    ends: usize,
}

const WINDOW: usize = 37;
const CAPACITY: u64 = 700;

impl Tiny {
    fn new(wrong: Option<Wrong>) -> Tiny {
        let (held, in_flight, left) = (BTreeMap::new(), VecDeque::new(), Vec::new());
        let (next, cursor, away, gone, told, ends) = (1, Cursor(0), false, false, 0, 0);
        Tiny { wrong, held, next, in_flight, left, cursor, away, gone, told, ends }
    }

    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    fn find(&mut self, ufid: Ufid) -> Option<(u64, &mut Held)> {
        self.held.iter_mut().find(|(_, held)| held.flow.ufid == ufid).map(|(at, h)| (*at, h))
    }

    fn stats_of(&self, hits: Counters) -> Stats {
        let short = u64::from(self.is(TellsFinalCountsShort));
        let packets = hits.packets.saturating_sub(short);
        Stats { counters: Counters { packets, ..hits }, ..Stats::default() }
    }

    fn carry_out(&mut self, op: &Op) -> Result<Stats, ProviderError> {
        let reason = match self.is(RefusesForAnotherReason) {
            true => Reason::TableFull,
            false => Reason::Action,
        };
        let admission = TinyAdmission { capabilities: Capabilities::default(), admits: true };
        if let Op::Install { flow, .. } | Op::Replace { flow, .. } = op
            && let Err(why) = admission.admit(flow)
            && !self.is(TakesWhatItRefuses)
        {
            let why = Refusal { reason, ..why.first };
            return Err(ProviderError::Unsupported(why));
        }
        match op {
            Op::Install { flow, generation } => {
                if self.find(flow.ufid).is_some() && !self.is(InstallsTwice) {
                    return Err(ProviderError::Exists);
                }
                let room = match self.is(ForgetsTheRoom) {
                    true => self.next <= CAPACITY,
                    false => (self.held.len() as u64) < CAPACITY,
                };
                if !room && !self.is(IsNeverFull) {
                    let full = Refusal::new(Reason::TableFull, TableName::Megaflow);
                    return Err(ProviderError::Full(full));
                }
                let hits = Counters::default();
                let held = Held { flow: flow.clone(), generation: *generation, hits };
                self.held.insert(self.next, held);
                self.next += 1;
                Ok(Stats::default())
            }
            Op::Replace { flow, generation } => {
                let (old, keeps) = (self.is(ShowsAnOldGeneration), self.is(KeepsCountsInANewLife));
                let (_, held) = self.find(flow.ufid).ok_or(ProviderError::NotFound)?;
                held.flow = flow.clone();
                held.generation = if old { held.generation } else { *generation };
                let hits = if keeps { held.hits } else { std::mem::take(&mut held.hits) };
                Ok(self.stats_of(hits))
            }
            Op::Remove { ufid } => match self.find(*ufid).map(|(at, held)| (at, held.hits)) {
                Some((at, hits)) => {
                    self.held.remove(&at);
                    Ok(self.stats_of(hits))
                }
                None if self.is(RemovesWhatIsAbsent) => Ok(Stats::default()),
                None => Err(ProviderError::NotFound),
            },
        }
    }

    /// The next part: the entries, and where the next part begins.
    fn part(&mut self, from: Cursor) -> Result<(Vec<u64>, Option<Cursor>), ProviderError> {
        if self.gone && !self.is(ReadsWhenGone) {
            return Err(ProviderError::Gone("taken away".to_owned()));
        }
        let from = match self.is(ResumesWhatWasGivenUp) {
            true => self.cursor,
            false => from,
        };
        let size = if self.is(TellsAllAtOnce) { usize::MAX } else { PART };
        let mut all = self.held.range(from.0..).map(|(at, _)| *at);
        let part: Vec<u64> = all.by_ref().take(size).collect();
        let next = all.next().map(|at| match self.wrong {
            Some(SkipsAtTheCut) => Cursor(at + 1),
            Some(RepeatsAtTheCut) => Cursor(at - 1),
            Some(NeverEndsAReading) => Cursor(u64::MAX),
            _ => Cursor(at),
        });
        let next = next.or_else(|| self.is(NeverEndsAReading).then_some(Cursor(u64::MAX)));
        self.cursor = next.unwrap_or_default();
        Ok((part, next))
    }

    fn end(&mut self, sub: &Submission) -> Completion {
        match self.gone {
            true => sub.completed(Err(ProviderError::Gone("taken away".to_owned()))),
            false => sub.completed(self.carry_out(&sub.op)),
        }
    }
}

/// Refuses every megaflow that does not send packets to ports only; or every one.
struct TinyAdmission {
    capabilities: Capabilities,
    admits: bool,
}

impl Admission for TinyAdmission {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn admit(&self, flow: &Megaflow) -> Result<(), Refusals> {
        match flow.actions.iter().find(|action| !matches!(action, Action::Output(_))) {
            Some(action) => Err(Refusal::new(Reason::Action, action.kind()).into()),
            None if !self.admits => {
                Err(Refusal::new(Reason::TableFull, TableName::Megaflow).into())
            }
            None => Ok(()),
        }
    }

    fn explain(&self, flow: &Megaflow) -> Result<String, Refusals> {
        self.admit(flow).map(|()| odp::format_match(&flow.matching))
    }
}

impl Provider for Tiny {
    fn name(&self) -> &str {
        "tiny"
    }

    fn admission(&self) -> Arc<dyn Admission> {
        let admits = !self.is(AdmitsTooLittle);
        Arc::new(TinyAdmission { capabilities: Capabilities::default(), admits })
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn submit(&mut self, waiting: &mut VecDeque<Submission>) {
        let room = match self.wrong {
            Some(TakesTooMuch) => usize::MAX,
            Some(TakesNothing) => 0,
            _ => WINDOW.saturating_sub(self.in_flight.len() + self.left.len()),
        };
        for _ in 0..room.min(waiting.len()) {
            let next = match self.is(TakesFromTheBack) {
                true => waiting.pop_back(),
                false => waiting.pop_front(),
            };
            self.in_flight.extend(next);
        }
        if self.is(TellsTheUndelivered) {
            while let Some(sub) = self.in_flight.pop_front() {
                let end = self.end(&sub);
                self.left.push(end);
            }
        }
    }

    fn poll(&mut self, _wait: Duration, done: &mut Vec<Completion>) {
        if self.is(DropsEndsWhenGone) && self.gone {
            return self.in_flight.clear();
        }
        done.append(&mut self.left);
        // A few at a time: what is in flight stays there for some polls.
        for _ in 0..5 {
            let count = self.in_flight.len();
            let next = match self.wrong {
                Some(LaterFirst) if count > 3 => self.in_flight.swap_remove_back(count - 1),
                _ => self.in_flight.pop_front(),
            };
            let Some(sub) = next else { return };
            let mut end = self.end(&sub);
            self.ends += 1;
            if self.is(SwapsTags) && self.ends == 20 {
                end.tag = self.in_flight.front().map_or(Tag(0), |sub| sub.tag);
            }
            if self.is(LosesAnEnd) && self.ends == 20 {
                continue;
            }
            if self.is(EndsTwice) && self.ends == 20 {
                self.left.push(end.clone());
            }
            let is_failure = end.result.is_err();
            done.push(end);
            if self.is(StopsAtAFailure) && is_failure {
                let busy = || Err(ProviderError::NotFound);
                done.extend(self.in_flight.drain(..).map(|sub| sub.completed(busy())));
            }
        }
    }

    fn stats(
        &mut self,
        from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        let (part, next) = self.part(from)?;
        let forgets = self.is(CountsSinceTheLastReading);
        for at in part {
            let Some(held) = self.held.get_mut(&at) else { continue };
            out.push((held.flow.ufid, Stats { counters: held.hits, ..Stats::default() }));
            held.hits = if forgets { Counters::default() } else { held.hits };
        }
        Ok(next)
    }

    fn dump(
        &mut self,
        from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        let (part, next) = self.part(from)?;
        let held = part.iter().filter_map(|at| self.held.get(at));
        out.extend(held.map(|held| Dumped {
            ufid: held.flow.ufid,
            generation: held.generation,
            flow: Some(held.flow.clone()),
            stats: Stats { counters: held.hits, ..Stats::default() },
            active: true,
        }));
        Ok(next)
    }

    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let anything = self.is(AdoptsAnything);
        let all = found.iter().map(|one| one.ufid);
        all.filter(|ufid| anything || self.find(*ufid).is_some()).collect()
    }

    fn tables(&self) -> Vec<TableUsage> {
        let entries = self.held.len() as u64 + u64::from(self.is(MiscountsItsTable));
        let table = TableName::Megaflow;
        vec![TableUsage { table, holds_megaflows: true, entries, capacity: Some(CAPACITY) }]
    }

    /// The hits came in at one port.
    fn traffic(&mut self) -> Result<Vec<PortTraffic>, ProviderError> {
        let hits = self.held.values().map(|held| held.hits).sum::<Counters>();
        let packets = match self.is(CountsPortsBackwards) {
            true => 1000 - hits.packets,
            false => hits.packets,
        };
        let (received, none) = (Counters { packets, bytes: 60 * packets }, Counters::default());
        let port = PortTraffic {
            port: PortId(1),
            received,
            sent: none,
            to_host: none,
            from_host: none,
            receive_drops: Vec::new(),
            transmit_drops: Vec::new(),
            deaf: false,
            exact: true,
        };
        Ok(vec![port; 1 + usize::from(self.is(TellsAPortTwice))])
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        let most = if self.is(TellsTwiceThatItIsGone) { 2 } else { 1 };
        if !self.gone || self.told == most {
            return Vec::new();
        }
        self.told += 1;
        vec![ProviderEvent::Gone("taken away".to_owned())]
    }

    fn reopen(&mut self) -> Result<(), ProviderError> {
        if self.away && !self.is(OpensWhatIsAway) {
            return Err(ProviderError::Gone("still away".to_owned()));
        }
        if self.is(KeepsEndsOverAReopening) {
            let op = Op::Remove { ufid: Ufid(1) };
            self.in_flight.push_back(Submission { tag: Tag(1), op });
        }
        (self.gone, self.told) = (false, 0);
        Ok(())
    }

    fn close(&mut self) -> Result<(), ProviderError> {
        let left = usize::from(self.is(LeavesSomethingBehind));
        while self.held.len() > left {
            self.held.pop_first();
        }
        Ok(())
    }
}

impl Rig for Tiny {
    fn provider(&mut self) -> &mut dyn Provider {
        self
    }

    fn megaflow(&self, n: usize) -> Option<Arc<Megaflow>> {
        let dst = format!("eth(dst=02:00:00:00:{:02x}:{:02x})", n >> 8, n & 0xff);
        let matching = odp::parse_match(&format!("in_port(1),{dst}")).unwrap();
        Some(Arc::new(Megaflow::new(matching, [])))
    }

    fn other_actions(&self, _flow: &Megaflow) -> Actions {
        odp::parse_actions("2").unwrap()
    }

    fn refused_actions(&self) -> Option<Actions> {
        Some(odp::parse_actions("pop_vlan").unwrap())
    }

    fn hit(&mut self, flow: &Megaflow, packets: u64) -> Option<Counters> {
        let hits = Counters { packets, bytes: 60 * packets };
        self.find(flow.ufid)?.1.hits += hits;
        Some(hits)
    }

    fn lose(&mut self, flow: &Megaflow) -> bool {
        let found = self.find(flow.ufid).map(|(at, _)| at);
        if let Some(at) = found.filter(|_| !self.is(ReadsFromMemory)) {
            self.held.remove(&at);
        }
        true
    }

    fn restart(&mut self) -> bool {
        let held = std::mem::take(&mut self.held);
        *self = Tiny { held, next: self.next, ..Tiny::new(self.wrong) };
        for held in self.held.values_mut() {
            if self.wrong == Some(ForgetsCountsAtARestart) {
                held.hits = Counters::default();
            }
            if self.wrong == Some(ForgetsActionsAtARestart) {
                held.flow = Arc::new(Megaflow::new(held.flow.matching.clone(), []));
            }
        }
        true
    }

    fn take_away(&mut self) -> bool {
        (self.away, self.gone) = (true, true);
        true
    }

    fn give_back(&mut self) -> bool {
        self.away = false;
        true
    }

    fn left_behind(&mut self) -> Option<u64> {
        Some(self.held.len() as u64)
    }
}

#[test]
fn a_right_provider_passes_every_check() {
    let all = conforms(|| Tiny::new(None));
    println!("{all}");
    assert!(all.broken().chain(all.not_made()).next().is_none(), "{all}");
}

#[test]
fn each_way_to_be_wrong_is_found_by_the_check_that_is_about_it() {
    for (wrong, name) in FOUND_BY {
        let (_, check) = CHECKS.iter().find(|(of, _)| *of == name).expect("there is such a check");
        match check(&mut Tiny::new(Some(wrong))) {
            Err(Finding::Broken(how)) => println!("{wrong:?}: {how:.200}"),
            found => panic!("{wrong:?}: {name}: {found:?}"),
        }
    }
}

#[test]
fn a_run_in_any_order_finds_what_goes_wrong_only_then() {
    let (_, check) = CHECKS.iter().find(|(name, _)| name.starts_with("anything")).unwrap();
    for wrong in [LosesAnEnd, LaterFirst, TellsTheUndelivered, KeepsCountsInANewLife] {
        let found = check(&mut Tiny::new(Some(wrong)));
        assert!(matches!(found, Err(Finding::Broken(_))), "{wrong:?}: {found:?}");
    }
}

/// The module's text says of each check what is in it.
#[test]
fn each_check_is_in_the_list_of_sentences() {
    let text = include_str!("mod.rs");
    for (name, _) in CHECKS {
        assert_eq!(text.matches(&format!("//! - *{name}*:")).count(), 1, "{name}");
    }
    assert_eq!(text.matches("//! - *").count(), CHECKS.len());
}

#[test]
fn what_a_rig_can_t_do_is_told() {
    let all = Conformance(vec![
        ("one", Ok(())),
        ("two", Err(Finding::NotHere("no hands".to_owned()))),
        ("three", Err(Finding::Broken("a sentence: how".to_owned()))),
    ]);
    assert_eq!(all.broken().collect::<Vec<_>>(), ["three"]);
    assert_eq!(all.not_made().collect::<Vec<_>>(), ["two"]);
    let text = "passed    one\nnot here  two: no hands\nBROKEN    three: a sentence: how\n";
    assert_eq!(all.to_string(), text);
}
