//! Lists network interfaces and finds a port's interface. On a switchdev NIC the interface is
//! found by switch and port, because names change.

use std::collections::BTreeMap;

use flow::Counters;

use crate::device::{DeviceSelector, NetDevice};
use crate::netlink::consts::{
    IFF_UP, IFLA_IFNAME, IFLA_OFFLOAD_XSTATS_CPU_HIT, IFLA_PHYS_PORT_NAME, IFLA_PHYS_SWITCH_ID,
    IFLA_STATS_LINK_64, IFLA_STATS_LINK_OFFLOAD_XSTATS, NLM_F_DUMP, RTM_GETLINK, RTM_GETSTATS,
    RTM_NEWLINK, RTM_NEWSTATS,
};
use crate::netlink::{
    KernelSocket, Malformed, NetlinkError, NlAttrs, RequestSocket, Transport, read,
};

/// Bytes of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// Where the interface's flags are in it.
const FLAGS: usize = 8;

/// Returns all interfaces of this network namespace, in the kernel's order.
pub fn list() -> Result<Vec<NetDevice>, crate::TcError> {
    let mut client = RequestSocket::new(KernelSocket::requests()?);
    Ok(list_with(&mut client)?)
}

/// Returns the interface that the selector names, if it exists.
pub fn find(selector: &DeviceSelector) -> Result<Option<NetDevice>, crate::TcError> {
    Ok(list()?.into_iter().find(|device| selector.selects(device)))
}

pub(crate) fn list_with<T: Transport>(
    client: &mut RequestSocket<T>,
) -> Result<Vec<NetDevice>, NetlinkError> {
    client.dump(
        RTM_GETLINK,
        NLM_F_DUMP,
        |w| w.raw(&[0; IFINFOMSG]),
        Vec::new,
        |devices, message| {
            if message.kind == RTM_NEWLINK {
                devices.push(parse(message.payload)?);
            }
            Ok(())
        },
    )
}

/// Reads the payload of a link message.
pub(crate) fn parse(payload: &[u8]) -> Result<NetDevice, Malformed> {
    let is_up = read::u32_at(payload, FLAGS)? & IFF_UP != 0;
    let mut device = NetDevice { ifindex: ifindex(payload)?, is_up, ..NetDevice::default() };
    let attrs = payload.get(IFINFOMSG..).ok_or(Malformed("a link message is cut short"))?;
    for attr in NlAttrs(attrs) {
        let attr = attr?;
        match attr.kind {
            IFLA_IFNAME => device.name = attr.text(),
            IFLA_PHYS_PORT_NAME => device.phys_port_name = Some(attr.text()),
            IFLA_PHYS_SWITCH_ID => {
                let hex = attr.payload.iter().map(|byte| format!("{byte:02x}")).collect();
                device.switch_id = Some(hex);
            }
            _ => {}
        }
    }
    Ok(device)
}

/// Reads the interface's number from the payload of a link or statistics message.
pub(crate) fn ifindex(payload: &[u8]) -> Result<u32, Malformed> {
    read::u32_at(payload, 4)
}

/// The counters of lost received packets, each by its reason and its place among the 64-bit numbers
/// of `struct rtnl_link_stats64`. Those that nothing but a loss can move come first. A packet may
/// be in two of them, and drivers differ in whether it is among the received packets too.
///
/// `rx_length_errors`, `rx_over_errors`, `rx_crc_errors` and `rx_frame_errors` are parts of
/// `rx_errors`. The kernel itself adds to `rx_dropped` each packet that no protocol takes, even if
/// a packet socket has a copy, and to `rx_otherhost_dropped` each packet for other hosts: packet
/// sockets have all of those, so it is not in the list.
pub(crate) const RECEIVE_DROPS: [(&str, usize); 5] =
    [("rx-missed", 15), ("rx-fifo", 14), ("rx-errors", 4), ("rx-nohandler", 23), ("rx-dropped", 6)];

/// The counters of packets that were to be sent and were lost, likewise. `tx_aborted_errors`,
/// `tx_carrier_errors` and the like are parts of `tx_errors`.
pub(crate) const TRANSMIT_DROPS: [(&str, usize); 2] = [("tx-dropped", 7), ("tx-errors", 5)];

/// The counters of an interface whose driver shows the CPU's share separately.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LinkCounters {
    /// All packets received.
    pub(crate) received: Counters,
    /// All packets sent.
    pub(crate) sent: Counters,
    /// The received packets that came to the CPU.
    pub(crate) to_cpu: Counters,
    /// The packets, sent or dropped, that came from the CPU.
    pub(crate) from_cpu: Counters,
    /// The numbers of [`RECEIVE_DROPS`].
    pub(crate) receive_drops: [u64; RECEIVE_DROPS.len()],
    /// The numbers of [`TRANSMIT_DROPS`].
    pub(crate) transmit_drops: [u64; TRANSMIT_DROPS.len()],
}

impl LinkCounters {
    /// Returns the growth since an earlier reading; `None` if a counter went back.
    pub(crate) fn since(self, earlier: LinkCounters) -> Option<LinkCounters> {
        Some(LinkCounters {
            received: self.received.since(earlier.received)?,
            sent: self.sent.since(earlier.sent)?,
            to_cpu: self.to_cpu.since(earlier.to_cpu)?,
            from_cpu: self.from_cpu.since(earlier.from_cpu)?,
            receive_drops: each(self.receive_drops, earlier.receive_drops, u64::checked_sub)?,
            transmit_drops: each(self.transmit_drops, earlier.transmit_drops, u64::checked_sub)?,
        })
    }
}

impl std::ops::Add for LinkCounters {
    type Output = LinkCounters;

    fn add(self, other: LinkCounters) -> LinkCounters {
        let add = |a: u64, b| Some(a.saturating_add(b));
        LinkCounters {
            received: self.received + other.received,
            sent: self.sent + other.sent,
            to_cpu: self.to_cpu + other.to_cpu,
            from_cpu: self.from_cpu + other.from_cpu,
            receive_drops: each(self.receive_drops, other.receive_drops, add).unwrap_or_default(),
            transmit_drops: each(self.transmit_drops, other.transmit_drops, add)
                .unwrap_or_default(),
        }
    }
}

/// Combines two lists number by number; `None` if one pair has no result.
fn each<const N: usize>(
    mut a: [u64; N],
    b: [u64; N],
    combine: impl Fn(u64, u64) -> Option<u64>,
) -> Option<[u64; N]> {
    for (a, b) in a.iter_mut().zip(b) {
        *a = combine(*a, b)?;
    }
    Some(a)
}

/// Bytes of `struct if_stats_msg`.
const STATSMSG: usize = 12;

/// Returns, by interface number, the counters of every interface whose driver shows the CPU's
/// share.
pub(crate) fn counters<T: Transport>(
    client: &mut RequestSocket<T>,
) -> Result<BTreeMap<u32, LinkCounters>, NetlinkError> {
    let wanted = [IFLA_STATS_LINK_64, IFLA_STATS_LINK_OFFLOAD_XSTATS];
    let wanted = wanted.iter().fold(0_u32, |mask, kind| mask | 1 << (kind - 1));
    let mut request = [0; STATSMSG];
    request[8..].copy_from_slice(&wanted.to_ne_bytes());
    client.dump(
        RTM_GETSTATS,
        NLM_F_DUMP,
        |w| w.raw(&request),
        BTreeMap::new,
        |all, message| {
            if message.kind == RTM_NEWSTATS
                && let Some(counters) = parse_counters(message.payload)?
            {
                all.insert(ifindex(message.payload)?, counters);
            }
            Ok(())
        },
    )
}

/// Reads the payload of a statistics message; `None` if the driver does not show the CPU's share.
fn parse_counters(payload: &[u8]) -> Result<Option<LinkCounters>, Malformed> {
    let attrs = payload.get(STATSMSG..).ok_or(Malformed("a stats message is cut short"))?;
    let (mut all, mut cpu) = (None, None);
    for attr in NlAttrs(attrs) {
        let attr = attr?;
        match attr.kind {
            IFLA_STATS_LINK_64 => all = Some(attr.payload),
            IFLA_STATS_LINK_OFFLOAD_XSTATS => {
                cpu = attr.nested().find(IFLA_OFFLOAD_XSTATS_CPU_HIT)?.map(|hit| hit.payload);
            }
            _ => {}
        }
    }
    let Some((all, cpu)) = all.zip(cpu) else { return Ok(None) };
    let (received, sent) = both(all)?;
    let (to_cpu, from_cpu) = both(cpu)?;
    Ok(Some(LinkCounters {
        received,
        sent,
        to_cpu,
        from_cpu,
        receive_drops: numbers(all, RECEIVE_DROPS)?,
        transmit_drops: numbers(all, TRANSMIT_DROPS)?,
    }))
}

/// Reads what was received and sent. `struct rtnl_link_stats64` starts with packets received and
/// sent, then bytes received and sent.
fn both(stats: &[u8]) -> Result<(Counters, Counters), Malformed> {
    let [received, sent, received_bytes, sent_bytes] =
        numbers(stats, [0, 1, 2, 3].map(|at| ("", at)))?;
    let counters = |packets, bytes| Counters { packets, bytes };
    Ok((counters(received, received_bytes), counters(sent, sent_bytes)))
}

fn numbers<const N: usize>(
    stats: &[u8],
    places: [(&str, usize); N],
) -> Result<[u64; N], Malformed> {
    let mut numbers = [0; N];
    for (number, (_, at)) in numbers.iter_mut().zip(places) {
        *number = read::u64_at(stats, at * 8)?;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_found_by_name_and_has_no_switch() {
        let lo = find(&DeviceSelector::Name("lo".into())).unwrap().expect("every namespace has lo");
        assert_eq!(lo.ifindex, 1);
        assert_eq!((lo.switch_id, lo.phys_port_name), (None, None));
        assert_eq!(find(&DeviceSelector::Name("no such".into())).unwrap(), None);
    }

    #[test]
    fn link_messages_cut_short_are_errors() {
        let mut payload = vec![0; IFINFOMSG];
        payload[4..8].copy_from_slice(&9u32.to_ne_bytes());
        payload.extend([8, 0, 36, 0, 0xAB, 1, 2, 3]);
        let device = parse(&payload).unwrap();
        assert_eq!((device.ifindex, device.switch_id.as_deref()), (9, Some("ab010203")));
        for cut in (0..payload.len()).filter(|cut| *cut != IFINFOMSG) {
            assert!(parse(&payload[..cut]).is_err(), "{cut}");
        }
    }
}
