//! Rounds of statistics: every place is read, then a sweep over the megaflows that are not at rest
//! is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flow::Moment;

use crate::event::{Place, ProviderId};
use crate::placer::Rivals;

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
    /// When the round began.
    began: Moment,
    /// When the last round began in which the host was read whole.
    host_known: Moment,
}

/// The last part of a round.
pub(super) struct Sweep {
    /// The number that the round's readings left.
    pub(super) number: u32,
    /// Places that were read whole.
    pub(super) read: BTreeSet<Place>,
    /// Time since the last sweep over which rates are taken; `None` if the host was not read.
    pub(super) interval: Option<Duration>,
    /// The candidates for an exchange, by each provider that is short of room.
    pub(super) rivals: BTreeMap<ProviderId, Rivals>,
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
            began: Moment::default(),
            host_known: Moment::default(),
        }
    }
}

impl Rounds {
    /// Begins a round over these places. Returns false if one is under way.
    pub(super) fn begin(&mut self, places: &[Place], now: Moment) -> bool {
        let begins = self.reading.is_empty() && !self.is_sweeping;
        if begins {
            self.began = now;
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

    /// The moment until which all hits in the host table are known, and those in the NICs that were
    /// read since then.
    pub(super) fn host_known(&self) -> Moment {
        self.host_known
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
            self.host_known = self.began;
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
