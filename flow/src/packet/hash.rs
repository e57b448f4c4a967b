//! The hash that the `hash` action computes.

use super::transport::{SCTP, TCP, UDP};
use super::{ipv4, ipv6};
use crate::action::HashAlgorithm;
use crate::key::Key;

/// The hash of a packet's connection, never 0 ("no hash"). Host and card compute the same value.
///
/// For IP the hash covers addresses and protocol, and for TCP, UDP and SCTP also the ports, except
/// in fragments, so that all fragments of a packet get one hash. For other packets it covers
/// Ethernet addresses, VIDs and EtherType. OVS leaves the function to the datapath; equal
/// connections have to get equal values.
#[must_use]
pub fn hash(key: &Key, algorithm: HashAlgorithm, basis: u32) -> u32 {
    let mut words = Words { hash: basis, symmetric: algorithm == HashAlgorithm::SymL4 };
    match key.eth_type {
        ipv4::ETH_TYPE => words.pair(key.ipv4_src.into(), key.ipv4_dst.into()),
        ipv6::ETH_TYPE => words.pair(key.ipv6_src, key.ipv6_dst),
        _ => {
            words.pair(key.eth_src.into(), key.eth_dst.into());
            words.word(u32::from(key.vlan_tci & 0xfff) << 16 | u32::from(key.cvlan_tci & 0xfff));
        }
    }
    words.word(u32::from(key.eth_type) << 8 | u32::from(key.ip_proto));
    if matches!(key.ip_proto, TCP | UDP | SCTP) && key.ip_frag == 0 {
        words.pair(key.tp_src.into(), key.tp_dst.into());
    }
    finish(words.hash)
}

/// MurmurHash3's finaliser; 0 means "no hash" and becomes 1, as in the kernel.
pub(super) fn finish(mut hash: u32) -> u32 {
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    (hash ^ hash >> 16).max(1)
}

/// MurmurHash3 (32 bit), the body as published, over whole words.
struct Words {
    hash: u32,
    symmetric: bool,
}

impl Words {
    /// Adds both ends of a connection: in order, or, if symmetric, independent of the order.
    fn pair(&mut self, src: u128, dst: u128) {
        let (a, b) = if self.symmetric { (src.min(dst), src.max(dst)) } else { (src, dst) };
        for value in [a, b] {
            for bytes in value.to_be_bytes().chunks_exact(4) {
                if let [a, b, c, d] = bytes {
                    self.word(u32::from_be_bytes([*a, *b, *c, *d]));
                }
            }
        }
    }

    fn word(&mut self, word: u32) {
        let mixed = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        self.hash = (self.hash ^ mixed).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
}
