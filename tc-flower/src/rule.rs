//! A flower filter as we write it: keys and actions, without its priority and handle.

use crate::netlink::consts::{TC_ACT_GOTO_CHAIN, TC_ACT_PIPE, TC_ACT_SHOT, TC_ACT_STOLEN};

/// A filter that one megaflow becomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The interface on whose ingress the filter is.
    pub ifindex: u32,
    /// The chain, which is the recirculation id.
    pub chain: u32,
    /// EtherType as it is on the wire behind the addresses (0x8100 or 0x88a8 for tagged
    /// packets), or `ETH_P_ALL`, 3.
    pub protocol: u16,
    /// Flower keys.
    pub keys: Vec<FlowerKey>,
    /// The actions in their order; never empty.
    pub actions: Vec<TcAction>,
    /// The fields that the megaflow's mask covers and that the filter implies without a key (for
    /// example "no tag", if the EtherType is not a VLAN tag's). The cookie carries these bits, so
    /// that the same mask can be read back.
    pub implied: u16,
}

/// One flower key attribute: value, and mask where the key has one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FlowerKey {
    /// `TCA_FLOWER_KEY_…`.
    pub kind: u16,
    /// `TCA_FLOWER_KEY_…_MASK`; 0 for a key without a mask.
    pub mask_kind: u16,
    /// Bytes in use of `value` and `mask`.
    pub len: u8,
    /// The value in network byte order, except where the kernel expects the machine's order.
    pub value: [u8; 16],
    /// The mask in the same byte order as the value; all ones for a key without a mask.
    pub mask: [u8; 16],
}

impl FlowerKey {
    /// Makes a key with a mask. Both slices have the same length, at most 16.
    #[must_use]
    pub fn masked(kind: u16, mask_kind: u16, value: &[u8], mask: &[u8]) -> FlowerKey {
        let mut key = FlowerKey::exact(kind, value);
        key.mask_kind = mask_kind;
        key.mask = [0; 16];
        key.mask.iter_mut().zip(mask).for_each(|(to, from)| *to = *from);
        key
    }

    /// Makes a key that is matched as a whole. The value has at most 16 bytes.
    #[must_use]
    pub fn exact(kind: u16, value: &[u8]) -> FlowerKey {
        let len = value.len().min(16);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
        let mut mask = [0; 16];
        mask[..len].fill(0xff);
        FlowerKey { kind, mask_kind: 0, len: u8::try_from(len).unwrap_or(16), value: bytes, mask }
    }

    /// Returns the value's bytes in use.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value[..usize::from(self.len)]
    }

    /// Returns the mask's bytes in use.
    #[must_use]
    pub fn mask(&self) -> &[u8] {
        &self.mask[..usize::from(self.len)]
    }
}

/// The protocol and the mask of each key, which all filters of one priority have in common.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Signature {
    /// The protocol, as in [`Rule`].
    pub protocol: u16,
    /// Kind and mask of each key.
    pub masks: Vec<(u16, [u8; 16])>,
}

impl Rule {
    /// Returns the signature. Filters with the same signature can share a priority.
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
        /// The interface that the packet leaves by.
        ifindex: u32,
    },
    /// `mirred egress mirror`: a copy leaves, the packet goes on to the next action.
    Mirror {
        /// The interface that the copy leaves by.
        ifindex: u32,
    },
    /// `gact drop`.
    Drop,
    /// `gact goto chain`.
    Goto {
        /// The chain's number, at most 28 bits.
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
        /// The EtherType of the header under the label.
        protocol: u16,
    },
    /// `pedit ex`: words of headers are rewritten.
    Pedit(Vec<PeditWord>),
    /// `csum`: checksums are corrected; the flags say which.
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
    /// Returns the header with the kernel's number.
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
    /// The header that the word is in.
    pub header: Header,
    /// Bytes from the header's start, a multiple of 4.
    pub offset: u32,
    /// New bits in network byte order; bits outside of `mask` are zero.
    pub value: [u8; 4],
    /// The bits that are replaced. (The kernel's own field has the bits that are kept.)
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

    /// Returns the control code, which says what tc does after this action.
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
