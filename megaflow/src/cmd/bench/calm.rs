//! New flows between addresses that the switch has learnt: a hundred a second between two ports,
//! and how long the first packet of each takes.

use std::time::Duration;

use flow::Moment;

use super::results::BenchResults;
use super::rig::{BenchRig, frame};

/// Addresses behind each port. Each pair of them is a flow.
const ADDRESSES: u64 = 1500;
/// Time between two flows.
const CALM: Duration = Duration::from_millis(10);
/// Time between two portions of frames.
pub(super) const PORTION: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// The frame of a flow from one port's addresses to another's.
pub(super) fn pair([from, to]: [usize; 2], number: u64) -> Vec<u8> {
    let mut frame = frame([(from, number / ADDRESSES), (to, number % ADDRESSES)]);
    frame.splice(14..22, number.to_be_bytes());
    frame
}

/// Has the switch learn the addresses behind the second port and the fourth.
pub(super) fn teach(rig: &mut BenchRig) -> Result<(), String> {
    let end = rig.clock.now() + PATIENCE;
    // Upcalls that find their queue full are dropped, and their addresses are sent again.
    while rig.status()?.metrics.flows.values().sum::<u64>() < 2 * ADDRESSES {
        if rig.clock.now() > end {
            return Err("the switch does not learn".to_owned());
        }
        for (port, number) in (0..ADDRESSES).flat_map(|number| [(1, number), (3, number)]) {
            rig.peers[port].send(&frame([(port, number), (port, number)]));
            if number % 64 == 0 {
                std::thread::sleep(PORTION);
            }
        }
    }
    rig.peers.iter_mut().for_each(|peer| drop(peer.drain()));
    Ok(())
}

/// The flows between the third port and the fourth.
pub(super) struct CalmFlows {
    began: Moment,
    first: u64,
    /// When each one was sent.
    sent: Vec<Moment>,
    /// Milliseconds that those took which were forwarded.
    took: Vec<f64>,
}

impl CalmFlows {
    /// The flows from this number on, which nobody has sent yet.
    pub(super) fn new(first: u64, now: Moment) -> CalmFlows {
        CalmFlows { began: now, first, sent: Vec::new(), took: Vec::new() }
    }

    /// Sends the next one if it is due.
    pub(super) fn offer(&mut self, rig: &mut BenchRig) {
        let now = rig.clock.now();
        if now >= self.began + CALM * u32::try_from(self.sent.len()).unwrap_or(u32::MAX) {
            rig.peers[2].send(&pair([2, 3], self.first + self.sent.len() as u64));
            self.sent.push(now);
        }
    }

    /// Takes those that were forwarded.
    pub(super) fn collect(&mut self, rig: &mut BenchRig) {
        let came = rig.peers[3].drain();
        let now = rig.clock.now();
        for packet in came {
            let number = packet.bytes().get(14..22).and_then(|bytes| bytes.try_into().ok());
            let number = number.map(u64::from_be_bytes).and_then(|n| n.checked_sub(self.first));
            let number = number.and_then(|number| usize::try_from(number).ok());
            let sent = number.and_then(|number| self.sent.get(number));
            self.took.extend(sent.map(|sent| now.since(*sent).as_secs_f64() * 1e3));
        }
    }

    /// Number of flows that were sent, and of those that were forwarded.
    pub(super) fn count(&self) -> (u64, u64) {
        (self.sent.len() as u64, self.took.len() as u64)
    }

    #[allow(clippy::cast_precision_loss, reason = "a count of packets")]
    pub(super) fn tell(self, what: &str, to: &mut BenchResults) {
        let (sent, came) = self.count();
        to.add(format!("{what}, lost"), "packets", (sent - came) as f64);
        to.add_times(what, self.took);
    }
}
