//! An interface and its counters as the imitation of the kernel shows them.

use std::collections::BTreeMap;

use crate::netlink::Writer;
use crate::netlink::consts::*;

/// A link: number, name, switch, port.
pub(crate) type Link = (u32, String, Option<Vec<u8>>, Option<String>);

/// The body of a message about an interface.
pub(super) fn show_link(w: &mut Writer, link: &Link, is_up: bool) {
    show_link_of(w, AF_UNSPEC, link, is_up);
}

pub(super) fn show_link_of(w: &mut Writer, family: u8, link: &Link, is_up: bool) {
    let (ifindex, name, switch, phys) = link;
    w.raw(&[family, 0, 0, 0]);
    w.raw(&ifindex.to_ne_bytes());
    w.raw(&(if is_up { IFF_UP } else { 0 }).to_ne_bytes());
    w.raw(&[0; 4]);
    w.text(IFLA_IFNAME, name);
    switch.iter().for_each(|id| w.bytes(IFLA_PHYS_SWITCH_ID, id));
    phys.iter().for_each(|name| w.text(IFLA_PHYS_PORT_NAME, name));
}

/// `struct rtnl_link_stats64`, each packet with 60 bytes.
pub(super) fn show_counters(
    w: &mut Writer,
    kind: u16,
    [received, sent, unsent]: [u64; 3],
    lost: &BTreeMap<usize, u64>,
) {
    let mut numbers = [0; 25];
    numbers[..4].copy_from_slice(&[received, sent, received * 60, sent * 60]);
    numbers[7] = unsent;
    lost.iter().for_each(|(at, lost)| numbers[*at] = *lost);
    w.bytes(kind, &numbers.map(u64::to_ne_bytes).concat());
}
