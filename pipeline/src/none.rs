//! The client that installs nothing: a packet that no megaflow matches is dropped.

use std::sync::Arc;

use flow::{Answer, Changed, Client, Megaflow, Moment, PortLink, Upcall, Verdict};

/// Answers every upcall by dropping the packet, installs nothing and keeps all megaflows: they come
/// over the control socket.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoClient;

impl Client for NoClient {
    fn name(&self) -> &'static str {
        "none"
    }

    fn ports(&mut self, _ports: &[PortLink]) {}

    fn upcall(&mut self, _upcall: Upcall<'_>, _now: Moment) -> Answer {
        Answer::Execute(Arc::new([]))
    }

    fn changes(&mut self) -> Vec<Changed> {
        Vec::new()
    }

    fn revalidate(&mut self, _flow: &Megaflow, _now: Moment) -> Verdict {
        Verdict::Keep
    }

    fn used(&mut self, _flow: &Megaflow, _at: Moment) {}

    fn show(&self, _now: Moment) -> String {
        String::new()
    }

    fn flush(&mut self) {}
}

#[cfg(test)]
mod tests {
    use flow::{Key, Mask, Match, UpcallReason};

    use super::*;

    #[test]
    fn drops_and_leaves_flows_alone() {
        let upcall = Upcall { key: &Key::default(), frame: &[], reason: &UpcallReason::Miss };
        assert_eq!(NoClient.upcall(upcall, Moment(0)), Answer::Execute([].into()));
        let flow = Megaflow::new(Match::new(&Key::default(), &Mask::default()), []);
        assert_eq!(NoClient.revalidate(&flow, Moment(5)), Verdict::Keep);
        assert_eq!(NoClient.changes(), []);
        assert_eq!(NoClient.show(Moment(9)), "");
    }
}
