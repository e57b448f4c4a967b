//! A flower filter as we write it: keys and actions, apart from its place among the priorities.

use crate::wire::consts::{TC_ACT_GOTO_CHAIN, TC_ACT_PIPE, TC_ACT_SHOT, TC_ACT_STOLEN};

/// A filter that one megaflow becomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// On whose ingress it is.
    pub ifindex: u32,
    /// The recirculation id.
    pub chain: u32,
    /// EtherType as it is on the wire behind the addresses (0x8100 or 0x88a8 for tagged
    /// packets), or `ETH_P_ALL`, 3.
    pub protocol: u16,
    /// Flower keys.
    pub keys: Vec<FlowerKey>,
    /// In order; never empty.
    pub actions: Vec<TcAction>,
    /// Which fields the megaflow's mask covers that the filter implies without naming them (no
    /// tag under an EtherType that is not a VLAN tag's): the cookie carries it, so that the
    /// very same mask can be read back.
    pub implied: u16,
}

/// One flower key attribute: value, and mask where the key has one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FlowerKey {
    /// `TCA_FLOWER_KEY_…`.
    pub kind: u16,
    /// `TCA_FLOWER_KEY_…_MASK`; 0 for a key without.
    pub mask_kind: u16,
    /// Bytes in use of `value` and `mask`.
    pub len: u8,
    /// In the order of the wire, except where the kernel wants the machine's.
    pub value: [u8; 16],
    /// The same; all ones for a key without a mask.
    pub mask: [u8; 16],
}

impl FlowerKey {
    /// A key with a mask. Both slices have one length, at most 16.
    #[must_use]
    pub fn masked(kind: u16, mask_kind: u16, value: &[u8], mask: &[u8]) -> FlowerKey {
        let mut key = FlowerKey::exact(kind, value);
        key.mask_kind = mask_kind;
        key.mask = [0; 16];
        key.mask.iter_mut().zip(mask).for_each(|(to, from)| *to = *from);
        key
    }

    /// A key that is matched as a whole. At most 16 bytes.
    #[must_use]
    pub fn exact(kind: u16, value: &[u8]) -> FlowerKey {
        let len = value.len().min(16);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
        let mut mask = [0; 16];
        mask[..len].fill(0xff);
        FlowerKey { kind, mask_kind: 0, len: u8::try_from(len).unwrap_or(16), value: bytes, mask }
    }

    /// The value's bytes in use.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value[..usize::from(self.len)]
    }

    /// The mask's bytes in use.
    #[must_use]
    pub fn mask(&self) -> &[u8] {
        &self.mask[..usize::from(self.len)]
    }
}

/// What all filters of one priority have in common: protocol, and mask by key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Signature {
    /// As in [`Rule`].
    pub protocol: u16,
    /// Kind and mask of each key.
    pub masks: Vec<(u16, [u8; 16])>,
}

impl Rule {
    /// Which filters it can share a priority with.
    #[must_use]
    pub fn signature(&self) -> Signature {
        Signature {
            protocol: self.protocol,
            masks: self.keys.iter().map(|key| (key.kind, key.mask)).collect(),
        }
    }
}

/// One tc action.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TcAction {
    /// `mirred egress redirect`: the packet leaves by that interface.
    Redirect {
        /// Which.
        ifindex: u32,
    },
    /// `mirred egress mirror`: a copy leaves, the packet goes on to the next action.
    Mirror {
        /// Which.
        ifindex: u32,
    },
    /// `gact drop`.
    Drop,
    /// `gact goto chain`.
    Goto {
        /// Which, at most 28 bits.
        chain: u32,
    },
    /// `vlan push`.
    VlanPush {
        /// TPID.
        tpid: u16,
        /// VID, 12 bits.
        vid: u16,
        /// PCP, 3 bits.
        pcp: u8,
    },
    /// `vlan pop`.
    VlanPop,
    /// `mpls push`.
    MplsPush {
        /// The entry: label 20, class 3, bottom of stack 1, TTL 8.
        lse: u32,
        /// 0x8847 or 0x8848.
        protocol: u16,
    },
    /// `mpls pop`.
    MplsPop {
        /// The EtherType under it.
        protocol: u16,
    },
    /// `pedit ex`: words of headers are rewritten.
    Pedit(Vec<PeditWord>),
    /// `csum`: checksums are made right again.
    Csum(u32),
}

/// The header that a pedit offset starts from; the kernel's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Header {
    Ethernet = 1,
    Ipv4 = 2,
    Ipv6 = 3,
    Tcp = 4,
    Udp = 5,
}

impl Header {
    /// By the kernel's number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Header> {
        [Header::Ethernet, Header::Ipv4, Header::Ipv6, Header::Tcp, Header::Udp]
            .into_iter()
            .find(|header| *header as u16 == number)
    }
}

/// One 32-bit word of a header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PeditWord {
    /// Which header.
    pub header: Header,
    /// Bytes from its start, a multiple of 4.
    pub offset: u32,
    /// New bits, in the order of the wire; none outside of `mask`.
    pub value: [u8; 4],
    /// Bits that are replaced. (The kernel's own field has the bits that are kept.)
    pub mask: [u8; 4],
}

impl TcAction {
    /// `TCA_ACT_KIND`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            TcAction::Redirect { .. } | TcAction::Mirror { .. } => "mirred",
            TcAction::Drop | TcAction::Goto { .. } => "gact",
            TcAction::VlanPush { .. } | TcAction::VlanPop => "vlan",
            TcAction::MplsPush { .. } | TcAction::MplsPop { .. } => "mpls",
            TcAction::Pedit(_) => "pedit",
            TcAction::Csum(_) => "csum",
        }
    }

    /// What tc does behind it.
    #[must_use]
    pub fn control(&self) -> u32 {
        match self {
            TcAction::Redirect { .. } => TC_ACT_STOLEN,
            TcAction::Drop => TC_ACT_SHOT,
            TcAction::Goto { chain } => TC_ACT_GOTO_CHAIN | chain,
            TcAction::Mirror { .. }
            | TcAction::VlanPush { .. }
            | TcAction::VlanPop
            | TcAction::MplsPush { .. }
            | TcAction::MplsPop { .. }
            | TcAction::Pedit(_)
            | TcAction::Csum(_) => TC_ACT_PIPE,
        }
    }
}
