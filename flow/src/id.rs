//! Newtypes for the things that a number identifies.

use serde::{Deserialize, Serialize};

use std::fmt;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bit 12 of a VLAN TCI in a [`crate::Key`]: "a tag is present". On the wire the same bit is the
/// DEI; in a key it is OVS's presence bit, so that VID 0 can be told from "no tag".
pub const VLAN_PRESENT: u16 = 0x1000;

/// A datapath port: our number, never the kernel's ifindex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PortId(pub u32);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A recirculation id, which is the scope of a lookup. A packet fresh from its port has 0.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct RecircId(pub u32);

impl fmt::Display for RecircId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// An Ethernet address in wire order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    IntoBytes,
    FromBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff, also the exact mask.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// Returns true if the group bit is set, as in broadcast and multicast addresses.
    #[must_use]
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl From<MacAddr> for u128 {
    fn from(mac: MacAddr) -> u128 {
        let [a, b, c, d, e, f] = mac.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f]).into()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| (1..=2).contains(&p.len()));
            *byte = part
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or_else(|| format!("'{text}' is not an Ethernet address"))?;
        }
        match parts.next() {
            None => Ok(MacAddr(bytes)),
            Some(_) => Err(format!("'{text}' is not an Ethernet address")),
        }
    }
}

/// The identity of a megaflow: 128 bits over key *and* mask (two megaflows whose masked keys are
/// equal can differ in the mask alone). Stable across restarts and versions: device cookies
/// carry it, and a restarted daemon recognises its own rules by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ufid(pub u128);

impl fmt::Display for Ufid {
    /// As OVS prints it: `ufid:` and a UUID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = format!("{:032x}", self.0);
        let (a, b, c, d, e) = (&h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..]);
        write!(f, "ufid:{a}-{b}-{c}-{d}-{e}")
    }
}

impl fmt::Debug for Ufid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ufid {
    type Err = String;

    /// Accepts `ufid:8-4-4-4-12` and the bare UUID.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uuid = text.strip_prefix("ufid:").unwrap_or(text);
        let lengths = uuid.split('-').map(str::len);
        let digits = uuid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
        if !lengths.eq([8, 4, 4, 4, 12]) || !digits {
            return Err(format!("'{text}' is not a ufid: expected ufid:8-4-4-4-12 hex digits"));
        }
        u128::from_str_radix(&uuid.replace('-', ""), 16).map(Ufid).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ufid_text_is_a_round_trip() {
        let ufid = Ufid(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(ufid.to_string(), "ufid:01234567-89ab-cdef-0011-223344556677");
        assert_eq!(ufid.to_string().parse(), Ok(ufid));
        for bad in ["", "ufid:", "ufid:+1234567-89ab-cdef-0011-223344556677", "ufid:1-2-3-4-5"] {
            assert!(bad.parse::<Ufid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mac_text_is_a_round_trip() {
        let mac = MacAddr([0, 0x1b, 2, 3, 4, 0xff]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for bad in ["", "0:1:2:3:4", "0:1:2:3:4:5:6", "+1:1:2:3:4:5x", "001:2:3:4:5:6"] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }
}
