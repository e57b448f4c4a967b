//! Counters and time as data.

use serde::{Deserialize, Serialize};

use std::time::Duration;

/// Nanoseconds since the process's own start, monotonic. Time enters the program in one place
/// and is handed down as a value.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Moment(pub u64);

impl Moment {
    /// Time since an earlier moment; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, time: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Packets and bytes. Bytes are whole Ethernet frames without FCS, as they hit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counters {
    /// The counters of one packet with the given number of bytes.
    #[inline]
    #[must_use]
    pub fn packet(bytes: usize) -> Counters {
        Counters { packets: 1, bytes: bytes as u64 }
    }

    /// Adds the counters of packets that went through this process: their sum is far from the
    /// largest value.
    #[inline]
    pub fn gather(&mut self, packets: Counters) {
        self.packets = self.packets.wrapping_add(packets.packets);
        self.bytes = self.bytes.wrapping_add(packets.bytes);
    }

    /// Growth since an earlier reading. `None` if a counter went back: then the device was reset,
    /// or the entry is not the one that was read earlier.
    #[must_use]
    pub fn since(self, earlier: Counters) -> Option<Counters> {
        Some(Counters {
            packets: self.packets.checked_sub(earlier.packets)?,
            bytes: self.bytes.checked_sub(earlier.bytes)?,
        })
    }

    /// Returns true if neither packets nor bytes were counted.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Counters::default()
    }
}

impl std::ops::Add for Counters {
    type Output = Counters;

    fn add(self, other: Counters) -> Counters {
        // A device can report any number: a sum stops at the largest value and never wraps.
        Counters {
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Counters {
    fn sum<I: Iterator<Item = Counters>>(all: I) -> Counters {
        all.fold(Counters::default(), |sum, one| sum + one)
    }
}

/// Statistics of a megaflow in one place (the host table or a device), absolute since its install
/// there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Hits.
    pub counters: Counters,
    /// Moment of the last hit; `None` if there was none, or if the place does not know it.
    pub used: Option<Moment>,
    /// Union of the TCP flags of all hits; 0 if the place does not see TCP flags.
    pub tcp_flags: u16,
}
