//! The counters that the ports of a device keep.

use crate::{Counters, PortId};

/// The counters of a device's port, absolute since the device's start. They are the other side of
/// the conservation of packets: they count packets where they come in, not where they hit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortTraffic {
    /// The port.
    pub port: PortId,
    /// Packets received from the wire.
    pub received: Counters,
    /// Packets sent to the wire.
    pub sent: Counters,
    /// Received packets that were handed to the host (bytes as received). Read after `received`.
    pub to_host: Counters,
    /// Sent packets that came from the host. Read after `sent`.
    pub from_host: Counters,
    /// Received packets that neither hit nor were handed to the host, by reason (a stable word).
    /// Where the counters are not exact, each reason is an upper bound: some of these packets may
    /// not be among the received ones, or may have come to the host all the same.
    pub receive_drops: Vec<(&'static str, Counters)>,
    /// Packets that hit and were lost on the way out, by reason; upper bounds likewise.
    pub transmit_drops: Vec<(&'static str, Counters)>,
    /// True if at some time since the last reading nothing could be handed to the host there, so
    /// that packets may be lost which no counter counts as lost.
    pub deaf: bool,
    /// The counters are of whole frames, from the device's start in this process on, and its
    /// host is this process alone. Not so at an interface of the kernel: others send there too,
    /// and only packets can be compared.
    pub exact: bool,
}

impl PortTraffic {
    /// Received packets that were not handed to the host: the device forwarded or dropped them
    /// itself. Packets that arrive between the two readings can make the number too small, never
    /// too large.
    #[must_use]
    pub fn received_alone(&self) -> Counters {
        less(self.received, self.to_host)
    }

    /// Sent packets that did not come from the host; too small, never too large, likewise.
    #[must_use]
    pub fn sent_alone(&self) -> Counters {
        less(self.sent, self.from_host)
    }

    /// Takes the next reading of the port. [`Self::received_alone`] and [`Self::sent_alone`] never
    /// go back: a reading that would make them smaller is corrected to their last value.
    pub fn update(&mut self, next: PortTraffic) {
        let (received, sent) = (self.received_alone(), self.sent_alone());
        *self = next;
        self.to_host = less(self.received, most(received, self.received_alone()));
        self.from_host = less(self.sent, most(sent, self.sent_alone()));
    }
}

fn less(all: Counters, part: Counters) -> Counters {
    Counters {
        packets: all.packets.saturating_sub(part.packets),
        bytes: all.bytes.saturating_sub(part.bytes),
    }
}

fn most(a: Counters, b: Counters) -> Counters {
    Counters { packets: a.packets.max(b.packets), bytes: a.bytes.max(b.bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(received: u64, to_host: u64) -> PortTraffic {
        let count = |packets| Counters { packets, bytes: packets * 60 };
        PortTraffic {
            port: PortId(1),
            received: count(received),
            sent: count(received),
            to_host: count(to_host),
            from_host: count(to_host),
            receive_drops: Vec::new(),
            transmit_drops: Vec::new(),
            deaf: false,
            exact: true,
        }
    }

    #[test]
    fn what_a_device_did_alone_never_goes_back_and_is_right_in_the_end() {
        let mut port = reading(100, 60);
        for (received, to_host, alone) in [(110, 75, 40), (120, 75, 45), (120, 75, 45)] {
            port.update(reading(received, to_host));
            assert_eq!(port.received_alone().packets, alone);
            assert_eq!(port.sent_alone().bytes, alone * 60);
        }
        assert_eq!(port, reading(120, 75));
    }
}
