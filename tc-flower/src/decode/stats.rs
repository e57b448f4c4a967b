//! Reads the statistics of an action: `struct gnet_stats_basic` and `struct tcf_t`.

use std::time::Duration;

use flow::{Counters, Moment, Stats};

use crate::netlink::consts::{
    TCA_ACT_KIND, TCA_ACT_OPTIONS, TCA_ACT_STATS, TCA_CSUM_TM, TCA_GACT_TM, TCA_MIRRED_TM,
    TCA_MPLS_TM, TCA_PEDIT_TM, TCA_STATS_BASIC, TCA_STATS_BASIC_HW, TCA_STATS_PKT64, TCA_VLAN_TM,
};
use crate::netlink::{Malformed, NlAttrs, read};

/// The unit of time in the kernel's interface (`USER_HZ`), which does not depend on the kernel's
/// own tick.
const TICK: Duration = Duration::from_millis(10);
/// The length of an Ethernet header, which software tc does not count; cards count whole frames.
const ETHERNET_HEADER: u64 = 14;

/// The counters of a filter or of one action.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FilterCounters {
    /// Packets and bytes; the bytes are whole frames without FCS.
    pub(crate) counters: Counters,
    /// Time since the last hit.
    pub(crate) idle: Option<Duration>,
}

impl FilterCounters {
    /// Returns the larger counters of two actions of one filter. Both actions see the same
    /// packets, but the kernel does not give the hardware's counters to actions that have no
    /// place for them (mpls).
    pub(super) fn most(self, other: FilterCounters) -> FilterCounters {
        let idle = match (self.idle, other.idle) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        let most = if other.counters.packets > self.counters.packets { other } else { self };
        FilterCounters { idle, ..most }
    }

    /// Returns the statistics in the form that the provider's contract demands; `now` is the time
    /// of reading.
    pub(crate) fn stats(&self, now: Moment) -> Stats {
        let used = self.idle.filter(|_| !self.counters.is_zero()).map(|idle| {
            let idle = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
            Moment(now.0.saturating_sub(idle))
        });
        Stats { counters: self.counters, used, tcp_flags: 0 }
    }
}

/// Reads the counters from the attributes of one action.
pub(super) fn of_action(action: NlAttrs<'_>) -> Result<FilterCounters, Malformed> {
    let mut counted = FilterCounters::default();
    let mut kind = String::new();
    for attr in action {
        let attr = attr?;
        match attr.kind {
            TCA_ACT_KIND => kind = attr.text(),
            TCA_ACT_STATS => counted.counters = counters(attr.nested())?,
            TCA_ACT_OPTIONS => counted.idle = idle(attr.nested(), &kind)?,
            _ => {}
        }
    }
    Ok(counted)
}

/// Reads the counters. If 32 bits are not enough for the packets of a record, the 64-bit number
/// follows that record.
fn counters(stats: NlAttrs<'_>) -> Result<Counters, Malformed> {
    let (mut total, mut hardware) = (Counters::default(), None);
    let mut last_is_hardware = false;
    for attr in stats {
        let attr = attr?;
        match attr.kind {
            TCA_STATS_BASIC => (total, last_is_hardware) = (basic(attr.payload)?, false),
            TCA_STATS_BASIC_HW => {
                (hardware, last_is_hardware) = (Some(basic(attr.payload)?), true);
            }
            TCA_STATS_PKT64 => {
                let packets = read::u64_at(attr.payload, 0)?;
                match hardware.as_mut().filter(|_| last_is_hardware) {
                    Some(hardware) => hardware.packets = packets,
                    None => total.packets = packets,
                }
            }
            _ => {}
        }
    }
    // The total is the sum of hardware and software. In a kernel without the hardware's record
    // the total comes from the hardware only, since our filters are skip_sw.
    let hardware = hardware.unwrap_or(total);
    let software = total.since(hardware).unwrap_or_default();
    let headers = software.packets.saturating_mul(ETHERNET_HEADER);
    Ok(Counters {
        packets: hardware.packets.saturating_add(software.packets),
        bytes: hardware.bytes.saturating_add(software.bytes).saturating_add(headers),
    })
}

fn basic(payload: &[u8]) -> Result<Counters, Malformed> {
    let packets = read::u32_at(payload, 8)?;
    Ok(Counters { bytes: read::u64_at(payload, 0)?, packets: u64::from(packets) })
}

/// Reads the time since the last use: `struct tcf_t` begins with install and lastuse, both in
/// ticks before now.
fn idle(options: NlAttrs<'_>, kind: &str) -> Result<Option<Duration>, Malformed> {
    let times = match kind {
        "gact" => TCA_GACT_TM,
        "mirred" => TCA_MIRRED_TM,
        "vlan" => TCA_VLAN_TM,
        "pedit" => TCA_PEDIT_TM,
        "csum" => TCA_CSUM_TM,
        "mpls" => TCA_MPLS_TM,
        _ => return Ok(None),
    };
    let Some(times) = options.find(times)? else { return Ok(None) };
    let ticks = u32::try_from(read::u64_at(times.payload, 8)?).unwrap_or(u32::MAX);
    Ok(Some(TICK.saturating_mul(ticks)))
}
