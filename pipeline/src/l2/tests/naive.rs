//! The slow twin of the switch.

use super::*;

/// A switch without megaflows and indexes: it decides anew for each packet, by a linear search.
pub(super) struct Naive {
    pub(super) ports: Vec<PortLink>,
    pub(super) limit: usize,
    pub(super) seen: BTreeMap<(u16, MacAddr), (u32, Moment)>,
    pub(super) evicted: usize,
}

/// Addresses of each kind that OVS's documentation of `forward-bpdu` lists.
pub(super) const RESERVED: [&str; 8] = [
    "01:80:c2:00:00:00",
    "01:80:c2:00:00:0e",
    "00:e0:2b:00:00:04",
    "01:00:0c:00:00:00",
    "01:00:0c:cc:cc:c3",
    "01:00:0c:cc:cc:cc",
    "01:00:0c:cc:cc:cd",
    "01:00:0c:cd:cd:cd",
];

impl Naive {
    pub(super) fn packet(&mut self, port: u32, frame: &[u8], now: Moment) -> Vec<PortId> {
        self.seen.retain(|_, (_, seen)| now.since(*seen) < AGEING);
        let (dst, src) = (frame[..6].try_into().unwrap(), frame[6..12].try_into().unwrap());
        let (dst, src) = (MacAddr(dst), MacAddr(src));
        let tagged = frame[12..14] == [0x81, 0x00] || frame[12..14] == [0x88, 0xa8];
        let vlan = u16::from_be_bytes([frame[14], frame[15]]) & 0xfff;
        let vlan = if tagged { vlan } else { 0 };
        let here = self.ports.iter().find(|known| known.id.0 == port);
        let Some(here) = here.filter(|_| !RESERVED.contains(&&*dst.to_string())) else {
            return Vec::new();
        };
        if src.0[0] & 1 == 0 && src.0 != [0; 6] && here.up {
            self.learn((vlan, src), port, now);
        }
        let to = match self.seen.get(&(vlan, dst)) {
            Some((known, _)) => vec![*known],
            None => self.ports.iter().map(|port| port.id.0).collect(),
        };
        to.into_iter().filter(|to| *to != port).map(PortId).collect()
    }

    fn learn(&mut self, address: (u16, MacAddr), port: u32, now: Moment) {
        if !self.seen.contains_key(&address) && self.seen.len() >= self.limit {
            let count = |of: u32| self.seen.values().filter(|(known, _)| *known == of).count();
            let largest =
                self.ports.iter().map(|p| p.id.0).max_by_key(|p| (count(*p), *p == port, *p));
            let behind = self.seen.iter().filter(|(_, (known, _))| Some(*known) == largest);
            let oldest = behind.map(|(address, (_, seen))| (*seen, *address)).min();
            self.seen.remove(&oldest.unwrap().1);
            self.evicted += 1;
        }
        self.seen.insert(address, (port, now));
    }

    pub(super) fn set_ports(&mut self, ports: &[PortLink]) {
        self.ports = ports.to_vec();
        self.seen.retain(|_, (port, _)| ports.iter().any(|p| p.id.0 == *port && p.up));
    }
}
