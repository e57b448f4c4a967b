//! Counters and time as data.

use std::time::Duration;

/// Nanoseconds since the process's own start, monotonic. Time enters the program in one place
/// and is handed down as a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
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
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counters {
    /// One packet of that many bytes.
    #[must_use]
    pub fn packet(bytes: usize) -> Counters {
        Counters { packets: 1, bytes: bytes as u64 }
    }

    /// Growth since an earlier reading, or `None` where a counter went back: the device was
    /// reset or the entry is another one.
    #[must_use]
    pub fn since(self, earlier: Counters) -> Option<Counters> {
        Some(Counters {
            packets: self.packets.checked_sub(earlier.packets)?,
            bytes: self.bytes.checked_sub(earlier.bytes)?,
        })
    }

    /// Nothing counted.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Counters::default()
    }
}

impl std::ops::Add for Counters {
    type Output = Counters;

    fn add(self, other: Counters) -> Counters {
        // Devices can say anything: a sum stays where it ends.
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

/// What a place knows of a megaflow that lives there. Absolute since the install there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Hits.
    pub counters: Counters,
    /// Last hit, where the place can tell; `None` if never or not known.
    pub used: Option<Moment>,
    /// Union of the TCP flags of all hits; 0 where the place does not see them.
    pub tcp_flags: u16,
}
