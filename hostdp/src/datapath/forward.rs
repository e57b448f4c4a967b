//! Lookup: from packets to hits, grouped by megaflow, and misses.

use flow::{Counters, Moment};

use super::{Datapath, InFlight, Origin};
use crate::upcall::Waiting;

impl Datapath {
    /// Looks packets up that have `depth` recirculations behind them, and carries out what they
    /// hit. Packets of one megaflow stay in order.
    pub(super) fn forward(&mut self, work: Vec<InFlight>, depth: usize, now: Moment) {
        if let Some(count) = self.lookups_at_depth.get_mut(depth) {
            *count += work.len() as u64;
        }
        let mut groups: Vec<(u32, Vec<InFlight>)> = Vec::new();
        for packet in work {
            match self.table.lookup(&packet.key) {
                // The search starts at the end, because the packets of a flow come in a row.
                Some(slot) => match groups.iter_mut().rev().find(|group| group.0 == slot) {
                    Some(group) => group.1.push(packet),
                    None => groups.push((slot, vec![packet])),
                },
                None => self.miss(packet, depth, now),
            }
        }
        for (slot, packets) in groups {
            self.hit(slot, packets, depth, now);
        }
    }

    /// Counts packets on the megaflow that they hit, and carries out its actions.
    pub(super) fn hit(&mut self, slot: u32, mut packets: Vec<InFlight>, depth: usize, now: Moment) {
        let mut sum = Counters::default();
        let mut tcp_flags = 0;
        for packet in &mut packets {
            let what = Counters::packet(packet.packet.len());
            sum += what;
            tcp_flags |= packet.key.tcp_flags;
            if let Some(account) = self.ledger.of(packet.origin) {
                account.hits_first_pass += what;
            }
            packet.origin = Origin::Counted;
        }
        let Some(actions) = self.table.hit(slot, sum, tcp_flags, now) else { return };
        if actions.is_empty() {
            self.explicit_drops += sum;
            self.ends.forks.dropped += sum;
        } else {
            self.execute_list(&actions, packets, depth, now);
        }
    }

    fn miss(&mut self, packet: InFlight, depth: usize, now: Moment) {
        let InFlight { packet, key, origin, .. } = packet;
        let what = Counters::packet(packet.len());
        match self.upcalls.miss(&key, Waiting { packet, origin, depth }, now) {
            Err(reason) => self.drop_packet(reason, origin, key.port(), what),
            Ok(()) => {
                self.ends.waiting += what;
                if let Some(account) = self.ledger.of(origin) {
                    account.pending += what;
                }
            }
        }
    }
}
