//! The key of a packet, and masks, which have the same shape.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::id::{MacAddr, PortId, RecircId};

/// Number of 64-bit words in a key.
pub const WORDS: usize = size_of::<Key>() / 8;

/// The fields of one packet, in host byte order (addresses of more than 4 bytes: integers whose
/// highest byte is the first on the wire). [`Field`](crate::Field) says what each field means.
///
/// The whole key is plain words that can be compared, masked and hashed without looking at fields.
/// No field of at most 8 bytes crosses a word, and the fields that packets of one kind have are in
/// few words: the masks of most megaflows have bits in six. A new field of OVS's key (tunnel,
/// conntrack, ND, NSH) takes one line here, one in `field.rs`, and its text. Nothing outside this
/// process knows the order: the ufid of a match does not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Default, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
#[allow(missing_docs, reason = "each field is described at its variant of Field")]
pub struct Key {
    pub ipv6_src: u128,
    pub ipv6_dst: u128,

    pub in_port: u32,
    pub recirc_id: u32,

    pub ipv4_src: u32,
    pub ipv4_dst: u32,

    pub eth_dst: MacAddr,
    pub eth_type: u16,

    pub eth_src: MacAddr,
    pub vlan_tci: u16,

    pub tp_src: u16,
    pub tp_dst: u16,
    pub ip_proto: u8,
    pub ip_frag: u8,
    pub ip_tos: u8,
    pub ip_ttl: u8,

    pub tcp_flags: u16,
    pub cvlan_tci: u16,
    pub ipv6_label: u32,

    pub vlan_tpid: u16,
    pub cvlan_tpid: u16,
    pub arp_op: u16,
    /// Fills the word; always zero, like the others of this kind.
    #[doc(hidden)]
    pub reserved: [u8; 2],

    pub dp_hash: u32,
    pub mpls0: u32,

    pub mpls1: u32,
    pub mpls2: u32,

    pub arp_sip: u32,
    pub arp_tip: u32,

    pub arp_sha: MacAddr,
    #[doc(hidden)]
    pub reserved_sha: [u8; 2],

    pub arp_tha: MacAddr,
    #[doc(hidden)]
    pub reserved_tha: [u8; 2],
}

/// The bits of a key that a match compares: a set bit is compared, a clear bit is wild.
pub type Mask = Key;

impl Key {
    /// The key as words, for masking, hashing and comparing.
    #[must_use]
    pub fn words(&self) -> &[u64; WORDS] {
        zerocopy::transmute_ref!(self)
    }

    /// The key of these words.
    pub(crate) fn from_words(words: [u64; WORDS]) -> Key {
        zerocopy::transmute!(words)
    }

    pub(crate) fn zip(&self, other: &Key, op: impl Fn(u64, u64) -> u64) -> Key {
        let mut words = *self.words();
        words.iter_mut().zip(other.words()).for_each(|(a, b)| *a = op(*a, *b));
        Key::from_words(words)
    }

    /// This key under a mask.
    #[must_use]
    pub fn masked(&self, mask: &Mask) -> Key {
        self.zip(mask, |key, mask| key & mask)
    }

    /// Bits of either (union of masks).
    #[must_use]
    pub fn union(&self, other: &Mask) -> Mask {
        self.zip(other, |a, b| a | b)
    }

    /// The bits of this mask that are not set in the other, for example those that a translator
    /// left over.
    #[must_use]
    pub fn without(&self, other: &Mask) -> Mask {
        self.zip(other, |a, b| a & !b)
    }

    /// Returns true if no bit is set.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.words().iter().all(|word| *word == 0)
    }

    /// The port that the packet came in by.
    #[must_use]
    pub fn port(&self) -> PortId {
        PortId(self.in_port)
    }

    /// The scope of the lookup.
    #[must_use]
    pub fn recirc(&self) -> RecircId {
        RecircId(self.recirc_id)
    }
}

impl std::hash::Hash for Key {
    /// The key as words: equal keys have equal words, and thirty fields one by one take longer.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}
