//! The audit's ground truth: what the card did with each packet, counted apart from the card's
//! own counters. Only tests and the demo's audit read it; the driver never does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flow::Counters;

macro_rules! drops {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)*) => {
        /// Why the card dropped a frame (dropping by an empty action list is no such drop: the
        /// megaflow counted it).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Drop { $($(#[$doc])* $variant,)* }

        impl Drop {
            /// All reasons.
            pub const ALL: &'static [Drop] = &[$(Drop::$variant,)*];

            /// The word for it in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Drop::$variant => $name,)* }
            }
        }
    };
}

drops! {
    /// The wire lost it before the card took it.
    RxWire "rx-wire";
    /// For the host, but its ring was full.
    RxRingFull "rx-ring-full";
    /// For the host, but there is no ring.
    RxRingOff "rx-ring-off";
    /// Longer than the card or the ring's slots take.
    Oversize "oversize";
    /// The card had halted.
    Halted "halted";
    /// The wire that it should leave by took no more.
    TxWire "tx-wire";
    /// Longer than the wire that it should leave by sends.
    TxTooLong "tx-too-long";
    /// A bad descriptor on the transmit ring.
    TxBad "tx-bad";
}

/// One wire port. Of every frame of `rx` exactly one of `nic`, `host` and the drops on the way in
/// (`RxWire`, `RxRingFull`, `RxRingOff`, `Oversize`,
/// `Halted`) counts it, with its bytes as received:
/// `rx = nic + host + those drops`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortLedger {
    /// From the wire.
    pub rx: Counters,
    /// Handled by the card to the end: the last lookup hit, and its actions were done.
    pub nic: Counters,
    /// Put on the receive ring (bytes as received, not as modified).
    pub host: Counters,
    /// The same, bytes as handed over.
    pub host_modified: Counters,
    /// Put on this wire by megaflows of the card.
    pub tx: Counters,
    /// Put on this wire from the host's transmit ring.
    pub from_host: Counters,
    /// Dropped, by reason; `TxWire` and `TxTooLong` at the port that should have sent, the rest
    /// where it came in.
    pub drops: HashMap<Drop, Counters>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) ports: Vec<PortLedger>,
    pub(super) flows: HashMap<(u128, u32), Counters>,
    incomplete: bool,
}

/// Lives of megaflows that the ledger keeps: a daemon that runs for months must not grow by it.
const FLOWS: usize = 1 << 20;

impl State {
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
pub struct Ledger {
    pub(super) state: Arc<Mutex<State>>,
}

impl Ledger {
    /// The ports now.
    #[must_use]
    pub fn ports(&self) -> Vec<PortLedger> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ports.clone()
    }

    /// Hits by cookie (the ufid) and generation, since the card was made: removed entries and
    /// resets do not take anything away.
    #[must_use]
    pub fn flows(&self) -> HashMap<(u128, u32), Counters> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).flows.clone()
    }

    /// Returns true if [`Ledger::flows`] has every life: false after a million lives of megaflows.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.state.lock().unwrap_or_else(PoisonError::into_inner).incomplete
    }

    /// Hits of one cookie over all its generations.
    #[must_use]
    pub fn flow(&self, cookie: u128) -> Counters {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.flows.iter().filter(|(key, _)| key.0 == cookie).map(|(_, counters)| *counters).sum()
    }
}
