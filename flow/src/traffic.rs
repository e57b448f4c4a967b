//! What a device's ports count by themselves.

use crate::{Counters, PortId};

/// What a device's own port counts, absolute since the device's start: the other end of the
/// conservation of packets, counted where they come in and not where they hit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortTraffic {
    /// Which port.
    pub port: PortId,
    /// Off the wire.
    pub received: Counters,
    /// Onto the wire.
    pub sent: Counters,
    /// Of those received, handed to the host (bytes as received). Read after `received`.
    pub to_host: Counters,
    /// Of those sent, given by the host. Read after `sent`.
    pub from_host: Counters,
    /// Received and neither hit nor handed to the host, by reason (a stable word).
    pub receive_drops: Vec<(&'static str, Counters)>,
    /// Hit, and lost on the way out, by reason.
    pub transmit_drops: Vec<(&'static str, Counters)>,
}

impl PortTraffic {
    /// Received and not handed to the host: what the device forwarded or dropped by itself. While
    /// frames come it is rather too small than too large, by those between the two readings.
    #[must_use]
    pub fn received_alone(&self) -> Counters {
        less(self.received, self.to_host)
    }

    /// Sent and not given by the host, read as carefully.
    #[must_use]
    pub fn sent_alone(&self) -> Counters {
        less(self.sent, self.from_host)
    }

    /// Takes the next reading of the port. What the device did alone never goes back: a reading
    /// that came out smaller is corrected to what is known.
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
