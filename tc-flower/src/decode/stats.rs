//! Statistics of an action: `struct gnet_stats_basic` and `struct tcf_t`.

use std::time::Duration;

use flow::{Counters, Moment, Stats};

use crate::wire::consts::{
    TCA_ACT_KIND, TCA_ACT_OPTIONS, TCA_ACT_STATS, TCA_CSUM_TM, TCA_GACT_TM, TCA_MIRRED_TM,
    TCA_MPLS_TM, TCA_PEDIT_TM, TCA_STATS_BASIC, TCA_STATS_BASIC_HW, TCA_STATS_PKT64, TCA_VLAN_TM,
};
use crate::wire::{Attrs, Malformed, read};

/// `USER_HZ`: what the kernel's interface counts time in, whatever its own tick.
const TICK: Duration = Duration::from_millis(10);
/// Software tc sees a packet without its Ethernet header; cards count whole frames.
const ETHERNET_HEADER: u64 = 14;

/// What a filter has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counted {
    /// Whole frames without FCS.
    pub(crate) counters: Counters,
    /// Time since the last hit.
    pub(crate) idle: Option<Duration>,
}

impl Counted {
    /// Of two actions of one filter, which see the same packets: the one that counted. The
    /// kernel gives the hardware's counts to each action but those that have no place for them
    /// (mpls).
    pub(super) fn most(self, other: Counted) -> Counted {
        let idle = match (self.idle, other.idle) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        let most = if other.counters.packets > self.counters.packets { other } else { self };
        Counted { idle, ..most }
    }

    /// As the contract wants it; `now` is the time of reading.
    pub(crate) fn stats(&self, now: Moment) -> Stats {
        let used = self.idle.filter(|_| !self.counters.is_zero()).map(|idle| {
            let idle = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
            Moment(now.0.saturating_sub(idle))
        });
        Stats { counters: self.counters, used, tcp_flags: 0 }
    }
}

/// Of the attributes of one action.
pub(super) fn of_action(action: Attrs<'_>) -> Result<Counted, Malformed> {
    let mut counted = Counted::default();
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

/// The 64-bit count of packets follows the record whose 32 bits were not enough.
fn counters(stats: Attrs<'_>) -> Result<Counters, Malformed> {
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
    // The total is hardware and software. A kernel without the hardware's record counts only
    // what the hardware says, since our filters are skip_sw.
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

/// `struct tcf_t` begins with install and lastuse, both as ticks before now.
fn idle(options: Attrs<'_>, kind: &str) -> Result<Option<Duration>, Malformed> {
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
