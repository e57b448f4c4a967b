//! A client for the simulated world that changes its mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flow::{
    Action, Answer, Changed, Client, Key, Mask, Match, Megaflow, Moment, PortId, PortLink, Topic,
    Topics, Upcall, Verdict,
};

/// A client that answers each key with a megaflow whose actions change from time to time: each
/// version changes the answers of one topic.
pub(super) struct Fickle {
    version: Arc<AtomicU32>,
    seen: u32,
    changes: Vec<Changed>,
}

/// Number of the client's topics.
const TOPICS: u32 = 8;

fn topic(key: &Key) -> u32 {
    u32::from(key.tp_src) % TOPICS
}

fn actions(key: &Key, version: u32) -> flow::Actions {
    // Every fifth station's packets go through a second lookup.
    if key.recirc_id == 0 && key.tp_src.is_multiple_of(5) {
        return Arc::new([Action::Recirc(flow::RecircId(u32::from(key.tp_src)))]);
    }
    let changes = (version + TOPICS - 1 - topic(key)) / TOPICS;
    Arc::new([Action::Output(PortId(2 + changes % 3))])
}

impl Fickle {
    pub(super) fn new(version: Arc<AtomicU32>) -> Fickle {
        Fickle { version, seen: 0, changes: Vec::new() }
    }
}

impl Client for Fickle {
    fn name(&self) -> &'static str {
        "fickle"
    }
    fn ports(&mut self, _ports: &[PortLink]) {}
    fn upcall(&mut self, upcall: Upcall<'_>, _now: Moment) -> Answer {
        let mask = Mask { tp_src: 0xffff, ..Mask::default() };
        let matching = Match::new(upcall.key, &mask);
        Answer::Install(Arc::new(Megaflow::new(matching, actions(upcall.key, self.seen))))
    }
    fn tick(&mut self, _now: Moment) {
        let version = self.version.load(Ordering::Relaxed);
        let news = std::mem::replace(&mut self.seen, version)..version;
        self.changes.extend(news.map(|version| match version % 13 {
            0 => Changed::Everything,
            _ => Changed::Topic(Topic((version % TOPICS).into())),
        }));
    }
    fn topics(&self, flow: &Megaflow) -> Topics {
        [None, Some(Topic(topic(&flow.matching.key()).into())), None, None]
    }
    fn changes(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.changes)
    }
    fn revalidate(&mut self, flow: &Megaflow, _now: Moment) -> Verdict {
        match actions(&flow.matching.key(), self.seen) {
            right if right == flow.actions => Verdict::Keep,
            right => Verdict::Replace(right),
        }
    }
    fn used(&mut self, _flow: &Megaflow, _at: Moment) {}
    fn show(&self, _now: Moment) -> String {
        String::new()
    }
    fn flush(&mut self) {}
}
