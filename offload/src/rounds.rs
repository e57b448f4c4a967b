//! Rounds of statistics: every place is read, then a sweep over all megaflows compares what is
//! believed with what was read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flow::Moment;

use crate::event::{Cause, Place, ProviderId};
use crate::placer::Rivals;
use crate::planner::Planner;
use crate::residence::Life;
use crate::sets::FlowId;

/// The weight of the newest interval in a megaflow's rate.
const RATE_WEIGHT: f64 = 0.5;

/// The round that is under way or comes next.
pub(super) struct Rounds {
    /// The number that the readings of this round leave with each megaflow.
    number: u32,
    /// Places that are being read.
    reading: BTreeSet<Place>,
    /// Places that were read whole in this round.
    read: BTreeSet<Place>,
    is_sweeping: bool,
    /// When the last sweep with the host's statistics began.
    swept: Moment,
}

/// The last part of a round.
pub(super) struct Sweep {
    /// The number that the round's readings left.
    pub(super) number: u32,
    /// Places that were read whole.
    pub(super) read: BTreeSet<Place>,
    /// Time since the last sweep over which rates are taken; `None` if the host was not read.
    interval: Option<Duration>,
    /// The candidates for an exchange, by each provider that is short of room.
    rivals: BTreeMap<ProviderId, Rivals>,
}

impl Sweep {
    /// Compares one megaflow with what was read: finds a lost rule, updates the rate for the
    /// placement policy, and lets an idle megaflow go.
    pub(super) fn visit(
        &mut self,
        planner: &mut Planner,
        id: FlowId,
        max_idle: Duration,
        now: Moment,
    ) {
        let Some(record) = planner.flows.get_mut(id) else { return };
        // The host table is this process's own and loses nothing; its readings have those only
        // that were hit.
        let is_lost = |provider: &ProviderId| {
            record.nic.life == Life::Present
                && record.nic.read_in != self.number
                && self.read.contains(&Place::Nic(*provider))
        };
        let lost_by = record.provider.filter(is_lost);
        if let Some(interval) = self.interval {
            let recent = u32::try_from(std::mem::take(&mut record.recent)).unwrap_or(u32::MAX);
            let rate = f64::from(recent) / interval.as_secs_f64();
            let before = record.rate;
            record.rate += RATE_WEIGHT * (rate - before);
            planner.placer.queue.rated(id, before, record.rate);
            // Hits in the NIC are known up to its last reading only; later ones may not have been
            // read yet.
            let provider = record.provider.filter(|_| record.nic.life.forwards());
            let device = provider.and_then(|provider| planner.placer.device(provider));
            let known_until = device.map_or(now, |device| device.read_at.min(now));
            if record.is_idle(known_until, max_idle) {
                planner.leave(id, Cause::Idle, now);
            }
        }
        if let Some(provider) = lost_by {
            planner.repair(provider, id, now);
        }
        for (provider, rivals) in &mut self.rivals {
            planner.placer.compete(rivals, *provider, &planner.flows, id);
        }
    }

    /// Ends the round. Returns true if a request waits for another one.
    pub(super) fn finish(self, planner: &mut Planner, now: Moment) -> bool {
        for (provider, rivals) in self.rivals {
            planner.exchange(provider, rivals, now);
        }
        for place in self.read {
            if let Place::Nic(provider) = place
                && let Some(device) = planner.placer.device_mut(provider)
            {
                device.said_full = false;
            }
            let name = planner.place_name(place);
            planner.tally.reconciled(&name, now);
        }
        planner.rounds.swept();
        planner.waiters.round_done()
    }
}

impl Default for Rounds {
    fn default() -> Rounds {
        Rounds {
            // Megaflows that were never read have the number 0.
            number: 1,
            reading: BTreeSet::new(),
            read: BTreeSet::new(),
            is_sweeping: false,
            swept: Moment::default(),
        }
    }
}

impl Rounds {
    /// Begins a round over these places. Returns false if one is under way.
    pub(super) fn begin(&mut self, places: &[Place]) -> bool {
        let begins = self.reading.is_empty() && !self.is_sweeping;
        if begins {
            self.reading.extend(places);
        }
        begins
    }

    /// The number that a reading leaves with a megaflow.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Returns true if a megaflow that comes to this place now may be missing in the round's
    /// reading.
    pub(super) fn may_miss(&self, place: Place) -> bool {
        self.reading.contains(&place) || self.read.contains(&place)
    }

    /// The reading of a place has ended. `is_whole` is true if nothing is missing in it.
    pub(super) fn ended(&mut self, place: Place, is_whole: bool) {
        self.reading.remove(&place);
        if is_whole {
            self.read.insert(place);
        } else {
            self.read.remove(&place);
        }
    }

    /// Returns the sweep, once all places have been read. `rivals` makes the list of candidates for
    /// a provider that is short of room.
    pub(super) fn sweep(
        &mut self,
        rivals: impl Fn(ProviderId) -> Option<Rivals>,
        now: Moment,
    ) -> Option<Sweep> {
        if !self.reading.is_empty() || self.is_sweeping {
            return None;
        }
        self.is_sweeping = true;
        let interval = self.read.contains(&Place::Host).then(|| {
            let since = std::mem::replace(&mut self.swept, now);
            now.since(since).max(Duration::from_millis(1))
        });
        let read = self.read.clone();
        let nics = read.iter().filter_map(|place| match place {
            Place::Host => None,
            Place::Nic(provider) => Some((*provider, rivals(*provider)?)),
        });
        let rivals = nics.collect();
        Some(Sweep { number: self.number, read, interval, rivals })
    }

    /// The sweep is done, and with it the round.
    pub(super) fn swept(&mut self) {
        self.is_sweeping = false;
        self.read.clear();
        self.number = self.number.wrapping_add(1);
    }
}
