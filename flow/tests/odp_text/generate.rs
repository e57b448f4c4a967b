//! Seeded matches, keys and actions in the forms that text can tell apart.

use flow::{
    Action, Attr, Field, HashAlgorithm, Key, Mask, Match, PortId, RecircId, SetFields, Userspace,
    VLAN_PRESENT, odp,
};

/// SplitMix64: the same values on every machine.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.word() % end as u64).unwrap_or(0)
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn u32(&mut self) -> u32 {
        u32::try_from(self.word() >> 32).unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::try_from(self.word() >> 48).unwrap_or(0)
    }

    /// Any bits of a field; small and round values more often than chance has them.
    fn bits(&mut self, full: u128) -> u128 {
        let word = u128::from(self.word()) << 64 | u128::from(self.word());
        match self.below(4) {
            0 => word & 0xff & full,
            1 => full & !(full >> 1 >> self.below(16)),
            _ => word & full,
        }
    }

    /// Nothing, the whole field, or some bits of it.
    fn mask(&mut self, full: u128) -> u128 {
        match self.below(5) {
            0 | 1 => 0,
            2 | 3 => full,
            _ => self.bits(full),
        }
    }
}

const PLAIN: [u16; 2] = [0x88cc, 0x0842];
const ARP: [u16; 2] = [0x0806, 0x8035];
const MPLS: [u16; 2] = [0x8847, 0x8848];
const TPID: [u16; 2] = [0x8100, 0x88a8];

struct Made {
    key: Key,
    mask: Mask,
}

impl Made {
    fn put(&mut self, field: Field, value: u128, mask: u128) {
        self.key.set(field, value & mask);
        self.mask.set(field, mask);
    }

    fn any(&mut self, rng: &mut Rng, fields: &[Field]) {
        for field in fields {
            let (value, mask) = (rng.bits(field.full_mask()), rng.mask(field.full_mask()));
            self.put(*field, value, mask);
        }
    }
}

/// A match that text can say (and that `validate` takes).
pub(crate) fn matching(rng: &mut Rng) -> Match {
    let mut made = Made { key: Key::default(), mask: Mask::default() };
    let port = (rng.u32() % 65_535) >> rng.below(16);
    made.put(Field::InPort, port.into(), u128::from(u32::MAX));
    let recirc = if rng.one_in(2) { 0 } else { rng.u32() };
    made.put(Field::RecircId, recirc.into(), u128::from(u32::MAX));
    made.any(rng, &[Field::EthSrc, Field::EthDst]);
    if rng.one_in(3) {
        made.any(rng, &[Field::DpHash]);
    }
    let eth_type = match rng.below(8) {
        0 => None,
        1 | 2 => Some(0x0800),
        3 | 4 => Some(0x86dd),
        5 => Some(rng.pick(&ARP)),
        6 => Some(rng.pick(&MPLS)),
        _ => Some(rng.pick(&[PLAIN[0], PLAIN[1], 0x05ff])),
    };
    match eth_type {
        Some(eth_type) => made.put(Field::EthType, eth_type.into(), 0xffff),
        None if rng.one_in(2) => made.put(Field::EthType, rng.u16().into(), 0xfff0),
        None => {}
    }
    tags(rng, &mut made);
    if let Some(eth_type) = eth_type {
        payload(rng, &mut made, eth_type);
    }
    Match::new(&made.key, &made.mask)
}

/// Zero, one or two tags, open, or known to be none.
fn tags(rng: &mut Rng, made: &mut Made) {
    let levels = [(Field::VlanTpid, Field::VlanTci), (Field::CvlanTpid, Field::CvlanTci)];
    for (tpid, tci) in levels {
        match rng.below(6) {
            0 | 1 => {
                let some = 0x1000 | rng.u16();
                let mask = rng.pick(&[0xffff, 0x1fff, 0xf000, 0x1000, some]);
                made.put(tci, (VLAN_PRESENT | rng.u16()).into(), mask.into());
                if !rng.one_in(4) {
                    made.put(tpid, rng.pick(&TPID).into(), 0xffff);
                }
            }
            2 | 3 => return made.put(tci, 0, 0xffff),
            4 => return made.put(tci, 0, VLAN_PRESENT.into()),
            _ => return,
        }
    }
}

fn payload(rng: &mut Rng, made: &mut Made, eth_type: u16) {
    match eth_type {
        0x0800 => made.any(rng, &[Field::Ipv4Src, Field::Ipv4Dst, Field::IpTos, Field::IpTtl]),
        0x86dd => {
            let fields =
                [Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label, Field::IpTos, Field::IpTtl];
            made.any(rng, &fields);
        }
        0x0806 | 0x8035 => {
            let fields = [Field::ArpOp, Field::ArpSip, Field::ArpTip, Field::ArpSha, Field::ArpTha];
            return made.any(rng, &fields);
        }
        0x8847 | 0x8848 => {
            let fields = [Field::Mpls0, Field::Mpls1, Field::Mpls2];
            let labels = 1 + rng.below(3);
            return made.any(rng, &fields[..labels]);
        }
        _ => return,
    }
    if rng.one_in(2) {
        made.put(Field::IpFrag, rng.below(3) as u128, 0xff);
    }
    let icmp = if eth_type == 0x0800 { 1 } else { 58 };
    let protocol = rng.pick(&[6, 6, 17, 132, icmp, 47]);
    let mask = if rng.one_in(5) { rng.mask(0xff) } else { 0xff };
    made.put(Field::IpProto, protocol, mask);
    if mask != 0xff || protocol == 47 || made.key.ip_frag == 2 {
        return;
    }
    if protocol == icmp {
        for field in [Field::TpSrc, Field::TpDst] {
            let mask = rng.mask(0xff);
            let value = rng.bits(0xff);
            made.put(field, value, if mask == 0xff { 0xffff } else { mask });
        }
        return;
    }
    made.any(rng, &[Field::TpSrc, Field::TpDst]);
    if protocol == 6 {
        made.any(rng, &[Field::TcpFlags]);
    }
}

/// The key that a packet could have: what a match says, and what packets can't have taken out.
pub(crate) fn key(rng: &mut Rng) -> Key {
    let mut key = matching(rng).key();
    let known = [&[0x0800, 0x86dd][..], &ARP, &MPLS].concat();
    if !known.contains(&key.eth_type) && key.eth_type != 0x05ff {
        key.eth_type = PLAIN[0];
    }
    for (tpid, tci) in [(&mut key.vlan_tpid, key.vlan_tci), (&mut key.cvlan_tpid, key.cvlan_tci)] {
        *tpid = if tci == 0 { 0 } else { rng.pick(&TPID) };
    }
    // OVS takes ARP operations of eight bits only; the last label has the bottom of the stack.
    key.arp_op &= 0xff;
    if MPLS.contains(&key.eth_type) {
        key.mpls0 |= 0x100;
        (key.mpls1, key.mpls2) = (0, 0);
    }
    key
}

/// A list of actions. With `ovs`, only such as its parser reads: not its own prints of labels
/// and hashes, no empty nested list, and userdata that it does not fill up or take for its own.
pub(crate) fn actions(rng: &mut Rng, ovs: bool, depth: usize) -> Vec<Action> {
    let count = if depth == 0 && rng.one_in(20) { 0 } else { 1 + rng.below(5) };
    (0..count).map(|_| action(rng, ovs, depth)).collect()
}

fn action(rng: &mut Rng, ovs: bool, depth: usize) -> Action {
    match rng.below(if ovs { 11 } else { 14 }) {
        0 | 1 => Action::Output(PortId(rng.u32() >> rng.below(32))),
        2..=5 => set(rng),
        6 => {
            let length = if ovs { 8 + rng.below(17) } else { rng.below(80) };
            let userdata = (0..length).map(|_| u8::try_from(rng.below(256)).unwrap_or(0)).collect();
            Action::Userspace(Userspace { pid: rng.u32(), userdata })
        }
        7 => Action::PushVlan {
            tpid: rng.pick(&[0x8100, 0x8100, 0x88a8, 0x9100]),
            tci: rng.u16() | rng.pick(&[0, VLAN_PRESENT]),
        },
        8 if rng.one_in(2) => Action::Trunc(rng.u32()),
        9 => Action::Recirc(RecircId(rng.u32() >> rng.below(32))),
        10 if depth < 5 => {
            let tenth = rng.below(1001);
            let text = format!("sample(sample={}.{}%,actions(drop))", tenth / 10, tenth % 10);
            let parsed = odp::parse_actions(&text);
            let probability = match parsed.as_deref() {
                Ok([Action::Sample { probability, .. }]) if ovs || rng.one_in(2) => *probability,
                _ => rng.u32(),
            };
            let actions = if !ovs && rng.one_in(4) { vec![] } else { actions(rng, ovs, depth + 1) };
            Action::Sample { probability, actions: actions.into() }
        }
        11 => Action::PushMpls { lse: rng.u32(), eth_type: rng.pick(&MPLS) },
        12 => Action::PopMpls { eth_type: rng.pick(&[0x0800, 0x86dd, 0x8847, 0]) },
        13 => Action::Hash {
            algorithm: rng.pick(&[HashAlgorithm::L4, HashAlgorithm::SymL4]),
            basis: rng.u32(),
        },
        _ => Action::PopVlan,
    }
}

const ETH: &[Field] = &[Field::EthSrc, Field::EthDst];
const IPV4: &[Field] = &[Field::Ipv4Src, Field::Ipv4Dst, Field::IpTos, Field::IpTtl];
const IPV6: &[Field] =
    &[Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label, Field::IpTos, Field::IpTtl];
const PORTS: &[Field] = &[Field::TpSrc, Field::TpDst];
const ARP_FIELDS: &[Field] =
    &[Field::ArpOp, Field::ArpSip, Field::ArpTip, Field::ArpSha, Field::ArpTha];

fn set(rng: &mut Rng) -> Action {
    let (attr, protocol, fields) = rng.pick(&[
        (Attr::Eth, 0, ETH),
        (Attr::Ipv4, 4, IPV4),
        (Attr::Ipv6, 6, IPV6),
        (Attr::Transport, 6, PORTS),
        (Attr::Transport, 17, PORTS),
        (Attr::Transport, 132, PORTS),
        (Attr::Arp, 0, ARP_FIELDS),
        (Attr::Mpls, 0, &[Field::Mpls0]),
        (Attr::EthType, 0, &[Field::EthType]),
        (Attr::DpHash, 0, &[Field::DpHash]),
    ]);
    let mut made = Made { key: Key::default(), mask: Mask::default() };
    while made.mask.is_zero() {
        made.any(rng, fields);
    }
    // 0/0xffff has a meaning of its own.
    if attr == Attr::EthType && made.key.eth_type == 0 {
        made.put(Field::EthType, 0x0800, 0xffff);
    }
    Action::Set(Box::new(SetFields { attr, protocol, value: made.key, mask: made.mask }))
}
