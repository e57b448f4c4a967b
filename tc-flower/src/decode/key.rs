//! Decodes flower keys to key and mask.

use flow::{Field, Key, Mask, PortId, VLAN_PRESENT};

use crate::netlink::consts::ETH_P_ALL;
use crate::netlink::read::NlAttr;
use crate::translate::table::{self, Simple};
use crate::translate::{implied, is_tpid, keys_of};

/// A filter's keys while they are read, attribute by attribute in any order.
pub(super) struct FilterKeys {
    port: PortId,
    chain: u32,
    protocol: u16,
    implied: u16,
    key: Key,
    mask: Mask,
    /// The values and masks of simple keys. A key of ports or ICMP belongs to its field only
    /// under the right protocol, which is known at the end.
    seen: Vec<Seen>,
    /// `ETH_TYPE`, and the EtherTypes behind one and two tags.
    eth_type: Option<u16>,
    behind: [Option<u16>; 2],
    vid: [Option<u16>; 2],
    pcp: [Option<u8>; 2],
    flags: [Option<u32>; 2],
}

struct Seen {
    simple: Simple,
    value: Option<u128>,
    mask: Option<u128>,
}

impl FilterKeys {
    pub(super) fn new(port: PortId, chain: u32, protocol: u16, implied: u16) -> FilterKeys {
        FilterKeys {
            port,
            chain,
            protocol,
            implied,
            key: Key::default(),
            mask: Mask::default(),
            seen: Vec::new(),
            eth_type: None,
            behind: [None; 2],
            vid: [None; 2],
            pcp: [None; 2],
            flags: [None; 2],
        }
    }

    /// Takes one attribute; `None` if we would not have written it.
    pub(super) fn attribute(&mut self, attr: NlAttr<'_>) -> Option<()> {
        match attr.kind {
            table::ETH_TYPE => self.eth_type = Some(attr.be16().ok()?),
            table::IP_PROTO => {
                (self.key.ip_proto, self.mask.ip_proto) = (attr.u8().ok()?, 0xff);
            }
            table::FLAGS | table::FLAGS_MASK => {
                let flags = u32::from_be_bytes(attr.exact().ok()?);
                self.flags[usize::from(attr.kind - table::FLAGS)] = Some(flags);
            }
            kind if table::VLAN.contains(&kind) => self.tag(0, kind - table::VLAN[0], attr)?,
            kind if table::CVLAN.contains(&kind) => self.tag(1, kind - table::CVLAN[0], attr)?,
            table::MPLS_TTL => self.mpls(u32::from(attr.u8().ok()?), 0, 0xff)?,
            table::MPLS_BOS => self.mpls(u32::from(attr.u8().ok()?), 8, 1)?,
            table::MPLS_TC => self.mpls(u32::from(attr.u8().ok()?), 9, 7)?,
            table::MPLS_LABEL => self.mpls(attr.u32().ok()?, 12, 0xf_ffff)?,
            _ => self.simple(attr)?,
        }
        Some(())
    }

    fn tag(&mut self, depth: usize, part: u16, attr: NlAttr<'_>) -> Option<()> {
        match part {
            0 => self.vid[depth] = Some(attr.u16().ok().filter(|vid| *vid <= 0x0fff)?),
            1 => self.pcp[depth] = Some(attr.u8().ok().filter(|pcp| *pcp <= 7)?),
            _ => self.behind[depth] = Some(attr.be16().ok()?),
        }
        Some(())
    }

    fn mpls(&mut self, value: u32, shift: u32, bits: u32) -> Option<()> {
        self.key.mpls0 |= (value & bits) << shift;
        self.mask.mpls0 |= bits << shift;
        (value <= bits).then_some(())
    }

    fn simple(&mut self, attr: NlAttr<'_>) -> Option<()> {
        let simple = table::simples().find(|s| s.kind == attr.kind || s.mask_kind == attr.kind)?;
        if attr.payload.len() != simple.len {
            return None;
        }
        let number = attr.payload.iter().fold(0u128, |n, byte| n << 8 | u128::from(*byte));
        let at = self.seen.iter().position(|seen| seen.simple.kind == simple.kind);
        let at = at.unwrap_or_else(|| {
            self.seen.push(Seen { simple, value: None, mask: None });
            self.seen.len() - 1
        });
        let seen = &mut self.seen[at];
        if attr.kind == simple.kind {
            seen.value = Some(number)
        } else {
            seen.mask = Some(number)
        }
        Some(())
    }

    /// Returns key and mask; `None` if the attributes contradict each other.
    pub(super) fn finish(mut self) -> Option<(Key, Mask)> {
        self.key.in_port = self.port.0;
        self.key.recirc_id = self.chain;
        self.tags()?;
        self.fragments()?;
        let transport = keys_of(self.key.eth_type, self.key.ip_proto);
        for seen in std::mem::take(&mut self.seen) {
            let Simple { field, kind, len, .. } = seen.simple;
            let per_protocol = matches!(field, Field::TpSrc | Field::TpDst | Field::TcpFlags);
            if per_protocol && !transport.iter().any(|simple| simple.kind == kind) {
                return None;
            }
            // A byte of ICMP that is matched whole covers its whole two-byte field.
            let mask = match seen.mask? {
                0xff if per_protocol && len == 1 => 0xffff,
                mask => mask,
            };
            self.mask.set(field, if field == Field::ArpOp { 0xffff } else { mask });
            self.key.set(field, seen.value?);
        }
        if self.implied & implied::MPLS1 != 0 {
            self.mask.mpls1 = u32::MAX;
        }
        if self.implied & implied::MPLS2 != 0 {
            self.mask.mpls2 = u32::MAX;
        }
        Some((self.key, self.mask))
    }

    fn fragments(&mut self) -> Option<()> {
        let later = table::FLAG_FRAGMENT | table::FLAG_FIRST;
        self.key.ip_frag = match self.flags {
            [None, None] => return Some(()),
            [Some(0), Some(table::FLAG_FRAGMENT)] => 0,
            [Some(flags), Some(mask)] if flags == later && mask == later => 1,
            [Some(table::FLAG_FRAGMENT), Some(mask)] if mask == later => 2,
            _ => return None,
        };
        self.mask.ip_frag = 0xff;
        Some(())
    }

    /// Decodes the tags from the protocol and the EtherTypes behind the tags. `ETH_TYPE` alone is
    /// not enough: the kernel shows the innermost EtherType there, while the request had the
    /// outermost.
    fn tags(&mut self) -> Option<()> {
        if !is_tpid(self.protocol) {
            return self.untagged();
        }
        self.put_tag(0, self.protocol)?;
        let innermost = match self.behind[0] {
            Some(tpid) if is_tpid(tpid) => {
                self.put_tag(1, tpid)?;
                self.behind[1]
            }
            Some(eth_type) => {
                self.imply(1);
                Some(eth_type)
            }
            None => None,
        };
        let outer_only = self.behind[0].is_none_or(|behind| !is_tpid(behind));
        if outer_only && (self.vid[1].is_some() || self.pcp[1].is_some()) {
            return None;
        }
        self.put_eth_type(innermost)
    }

    fn untagged(&mut self) -> Option<()> {
        if self.vid.iter().any(Option::is_some) || self.pcp.iter().any(Option::is_some) {
            return None;
        }
        if self.protocol == ETH_P_ALL {
            return if self.eth_type.is_none() { Some(()) } else { None };
        }
        self.mask.vlan_tci |= VLAN_PRESENT;
        self.imply(0);
        self.imply(1);
        self.put_eth_type(Some(self.protocol))
    }

    fn put_eth_type(&mut self, eth_type: Option<u16>) -> Option<()> {
        let Some(eth_type) = eth_type else { return Some(()) };
        if self.eth_type.is_some_and(|shown| shown != eth_type && !is_tpid(shown)) {
            return None;
        }
        (self.key.eth_type, self.mask.eth_type) = (eth_type, 0xffff);
        Some(())
    }

    fn put_tag(&mut self, depth: usize, tpid: u16) -> Option<()> {
        let (mut tci, mut mask) = (VLAN_PRESENT, VLAN_PRESENT);
        if let Some(vid) = self.vid[depth] {
            (tci, mask) = (tci | vid, mask | 0x0fff);
        }
        if let Some(pcp) = self.pcp[depth] {
            (tci, mask) = (tci | u16::from(pcp) << 13, mask | 0xe000);
        }
        let (tci_field, tpid_field) = fields(depth);
        self.key.set(tci_field, u128::from(tci));
        self.mask.set(tci_field, u128::from(mask));
        self.key.set(tpid_field, u128::from(tpid));
        self.mask.set(tpid_field, 0xffff);
        Some(())
    }

    /// Adds the mask of an absent tag, which is recorded in the cookie.
    fn imply(&mut self, depth: usize) {
        let bits = if depth == 0 {
            [0, implied::VLAN_VID, implied::VLAN_PCP, implied::VLAN_TPID]
        } else {
            [implied::CVLAN_PRESENT, implied::CVLAN_VID, implied::CVLAN_PCP, implied::CVLAN_TPID]
        };
        let (tci, tpid) = fields(depth);
        let parts = [(tci, VLAN_PRESENT), (tci, 0x0fff), (tci, 0xe000), (tpid, 0xffff)];
        for ((field, part), bit) in parts.into_iter().zip(bits) {
            if self.implied & bit != 0 {
                self.mask.set(field, self.mask.get(field) | u128::from(part));
            }
        }
    }
}

fn fields(depth: usize) -> (Field, Field) {
    match depth {
        0 => (Field::VlanTci, Field::VlanTpid),
        _ => (Field::CvlanTci, Field::CvlanTpid),
    }
}
