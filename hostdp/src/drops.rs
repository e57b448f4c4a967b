//! Why packets are dropped: every drop has a reason, and every reason a counter.

use flow::Counters;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)*) => {
        /// Why a packet, or a copy of one, went no further. The name is stable: metrics use it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// All of them: metrics start each at zero.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// The stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// The frame is shorter than an Ethernet header, or its offload header does not fit it.
    Malformed "malformed";
    /// The port's device lost the packet before it was received; it is not among those received.
    RxOverrun "rx-overrun";
    /// The upcall queue of the port, or the special one, was full.
    UpcallQueueFull "upcall-queue-full";
    /// Too many bytes were already waiting for the same upcall's answer, or for all answers.
    UpcallPendingFull "upcall-pending-full";
    /// The upcall was not answered in time.
    PendingTimeout "pending-timeout";
    /// The client's answer was to drop the packet.
    Client "client";
    /// The megaflow that the client installed for the packet does not match it.
    ClientMismatch "client-mismatch";
    /// The packet's port was removed while the packet waited.
    PortRemoved "port-removed";
    /// More recirculations in a row than the limit.
    RecircLimit "recirc-limit";
    /// More copies of one packet sent to recirculation than the limit.
    DeferredLimit "deferred-limit";
    /// Output to a port that is not there.
    NoSuchPort "no-such-port";
    /// Output to a port that is down or gone.
    PortDown "port-down";
    /// The frame is longer than the port's device can send.
    TxTooLong "tx-too-long";
    /// The port's device had no room for the frame.
    TxFull "tx-full";
    /// The port's device refused the frame.
    TxError "tx-error";
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Packets and bytes per reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drops([Counters; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Drops {
        Drops([Counters { packets: 0, bytes: 0 }; DropReason::ALL.len()])
    }
}

impl Drops {
    /// Adds packets and bytes to a reason.
    pub fn count(&mut self, reason: DropReason, what: Counters) {
        self.0[reason as usize] += what;
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, other: &Drops) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, what)| *sum += what);
    }

    /// What was counted for a reason.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> Counters {
        self.0[reason as usize]
    }

    /// All reasons, those with nothing counted included.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, Counters)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.get(*reason)))
    }

    /// The sum over all reasons.
    #[must_use]
    pub fn total(&self) -> Counters {
        self.0.iter().copied().sum()
    }
}
