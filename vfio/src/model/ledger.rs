//! The audit's ground truth: the fate of each packet in the card, counted apart from the card's
//! own counters. Only tests and the demo's audit read it; the driver never does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flow::Counters;

macro_rules! drops {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)*) => {
        /// The reason why the card dropped a frame. A drop by an empty action list is not among
        /// them, because the megaflow counted it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Drop { $($(#[$doc])* $variant,)* }

        impl Drop {
            /// All reasons.
            pub const ALL: &'static [Drop] = &[$(Drop::$variant,)*];

            /// Returns the word for the reason in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Drop::$variant => $name,)* }
            }
        }
    };
}

drops! {
    /// The wire lost the frame before the card took it.
    RxWire "rx-wire";
    /// The frame was for the host, but the ring was full.
    RxRingFull "rx-ring-full";
    /// The frame was for the host, but there is no ring.
    RxRingOff "rx-ring-off";
    /// The frame is longer than the card or the ring's slots take.
    Oversize "oversize";
    /// The card had halted.
    Halted "halted";
    /// The wire that the frame should leave by had no room.
    TxWire "tx-wire";
    /// The frame is longer than the wire that it should leave by can send.
    TxTooLong "tx-too-long";
    /// A bad descriptor on the transmit ring.
    TxBad "tx-bad";
}

/// The counters of one wire port. Every frame of `rx` is counted by exactly one of `nic`, `host`
/// and the drops on the way in (`RxWire`, `RxRingFull`, `RxRingOff`, `Oversize`, `Halted`), with
/// its bytes as received: `rx = nic + host + those drops`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortLedger {
    /// Frames from the wire.
    pub rx: Counters,
    /// Frames that the card handled to the end: the last lookup hit, and its actions were done.
    pub nic: Counters,
    /// Frames put on the receive ring (bytes as received, not as modified).
    pub host: Counters,
    /// Frames put on the receive ring, with bytes as handed over.
    pub host_modified: Counters,
    /// Frames put on this wire by megaflows of the card.
    pub tx: Counters,
    /// Frames put on this wire from the host's transmit ring.
    pub from_host: Counters,
    /// Frames dropped, by reason. `TxWire` and `TxTooLong` count at the port that should have
    /// sent, the other reasons at the port where the frame came in.
    pub drops: HashMap<Drop, Counters>,
}

#[derive(Default)]
pub(super) struct LedgerState {
    pub(super) ports: Vec<PortLedger>,
    pub(super) flows: HashMap<(u128, u32), Counters>,
    incomplete: bool,
}

/// The largest number of megaflow lives that the ledger keeps: a daemon that runs for months must
/// not grow by it.
const FLOWS: usize = 1 << 20;

impl LedgerState {
    pub(super) fn drop(&mut self, port: usize, reason: Drop, what: Counters) {
        *self.ports[port].drops.entry(reason).or_default() += what;
    }

    pub(super) fn hit(&mut self, cookie: u128, generation: u32, bytes: usize) {
        let key = (cookie, generation);
        if let Some(counters) = self.flows.get_mut(&key) {
            *counters += Counters::packet(bytes);
        } else if self.flows.len() < FLOWS {
            self.flows.insert(key, Counters::packet(bytes));
        } else {
            self.incomplete = true;
        }
    }
}

/// A handle on the ledger.
#[derive(Clone, Default)]
pub struct CardLedger {
    pub(super) state: Arc<Mutex<LedgerState>>,
}

impl CardLedger {
    /// Returns the current counters of the ports.
    #[must_use]
    pub fn ports(&self) -> Vec<PortLedger> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ports.clone()
    }

    /// Returns the hits by cookie (the ufid) and generation since the card was made; the removal
    /// of an entry and a reset take nothing away.
    #[must_use]
    pub fn flows(&self) -> HashMap<(u128, u32), Counters> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).flows.clone()
    }

    /// Returns true if [`CardLedger::flows`] has every life; false once there were over a million
    /// lives.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.state.lock().unwrap_or_else(PoisonError::into_inner).incomplete
    }

    /// Returns the hits of one cookie over all its generations.
    #[must_use]
    pub fn flow(&self, cookie: u128) -> Counters {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.flows.iter().filter(|(key, _)| key.0 == cookie).map(|(_, counters)| *counters).sum()
    }
}
