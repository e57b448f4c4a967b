//! Translates VLAN tags and the EtherType together, because tc has one `protocol` for whatever
//! follows the addresses, and its key for the EtherType depends on the number of tags before it.

use flow::{Detail, Field, Key, Mask, Refusal, VLAN_PRESENT};

use super::keys::{FlowerKeys, implied, mask, partial, value};
use super::table::{self, ETH_TYPE};
use crate::netlink::consts::{ETH_P_8021AD, ETH_P_8021Q, ETH_P_ALL};
use crate::rule::FlowerKey;

const VID: u16 = 0x0fff;
const PCP: u16 = 0xe000;

/// The match on one tag.
enum Tag {
    Wild,
    Absent,
    Present { tpid: u16, vid: Option<u16>, pcp: Option<u8> },
}

/// A tag's fields, and the bits that say which of them an absent tag's mask covered.
struct TagPlace {
    tci: Field,
    tpid: Field,
    implied_vid: u16,
    implied_pcp: u16,
    implied_tpid: u16,
}

const OUTER: TagPlace = TagPlace {
    tci: Field::VlanTci,
    tpid: Field::VlanTpid,
    implied_vid: implied::VLAN_VID,
    implied_pcp: implied::VLAN_PCP,
    implied_tpid: implied::VLAN_TPID,
};
const INNER: TagPlace = TagPlace {
    tci: Field::CvlanTci,
    tpid: Field::CvlanTpid,
    implied_vid: implied::CVLAN_VID,
    implied_pcp: implied::CVLAN_PCP,
    implied_tpid: implied::CVLAN_TPID,
};

/// The number of VLAN tags that the match requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tags {
    /// The match does not say how many tags the packet has.
    Unknown,
    /// Exactly this number of tags.
    Exactly(u8),
    /// This number of tags or more.
    AtLeast(u8),
}

impl Tags {
    pub(super) fn of(key: &Key, mask: &Mask) -> Tags {
        let present =
            |tci: u16, mask: u16| (mask & VLAN_PRESENT != 0).then_some(tci & VLAN_PRESENT != 0);
        let outer = present(key.vlan_tci, mask.vlan_tci);
        match (outer, present(key.cvlan_tci, mask.cvlan_tci)) {
            (None, _) => Tags::Unknown,
            (Some(false), _) => Tags::Exactly(0),
            (Some(true), None) => Tags::AtLeast(1),
            (Some(true), Some(false)) => Tags::Exactly(1),
            // A matched EtherType stands behind exactly two tags, because tc has no key for a
            // third tag.
            (Some(true), Some(true)) if mask.eth_type != 0 => Tags::Exactly(2),
            (Some(true), Some(true)) => Tags::AtLeast(2),
        }
    }
}

/// Returns true if this is the EtherType of a VLAN tag.
pub(crate) fn is_tpid(eth_type: u16) -> bool {
    matches!(eth_type, ETH_P_8021Q | ETH_P_8021AD)
}

impl FlowerKeys<'_> {
    /// Takes tags and EtherType; returns tc's protocol.
    pub(super) fn tags(&mut self) -> Option<u16> {
        let eth_type = self.eth_type();
        let eth_type = self.part(&[Field::EthType], eth_type);
        let outer = self.outer();
        let outer = self.part(&[Field::VlanTci, Field::VlanTpid], outer);
        let protocol = match (eth_type, outer) {
            (Some(eth_type), Some(outer)) => self.stack(eth_type, outer).map(Some),
            // If the EtherType or the outer tag is refused, nothing more is known of the inner
            // tag.
            _ => {
                [Field::CvlanTci, Field::CvlanTpid].into_iter().for_each(|field| self.take(field));
                self.check_parts(&INNER).map(|()| None)
            }
        };
        self.part(&[Field::CvlanTci, Field::CvlanTpid], protocol).flatten()
    }

    /// Writes the keys of tags and EtherType in their order; returns tc's protocol.
    fn stack(&mut self, eth_type: Option<u16>, outer: Tag) -> Result<u16, Refusal> {
        match outer {
            Tag::Wild => match eth_type {
                None => Ok(ETH_P_ALL),
                Some(_) => Err(mask(
                    Field::VlanTci,
                    &"tc matches an EtherType behind a known number of tags: match on whether \
                     there is a tag",
                )),
            },
            Tag::Absent => {
                let Some(eth_type) = eth_type else {
                    return Err(mask(
                        Field::EthType,
                        &"tc can match \"no tag\" by the EtherType only: match on that too",
                    ));
                };
                self.inner_of_untagged()?;
                self.out.push(FlowerKey::exact(ETH_TYPE, &eth_type.to_be_bytes()));
                Ok(eth_type)
            }
            Tag::Present { tpid, vid, pcp } => {
                self.out.push(FlowerKey::exact(ETH_TYPE, &tpid.to_be_bytes()));
                self.push_tag(&table::VLAN, vid, pcp);
                self.inner(eth_type)?;
                Ok(tpid)
            }
        }
    }

    /// Returns the EtherType if it is matched.
    fn eth_type(&mut self) -> Result<Option<u16>, Refusal> {
        self.whole(Field::EthType)?;
        self.take(Field::EthType);
        if self.mask.eth_type == 0 {
            return Ok(None);
        }
        match self.key.eth_type {
            eth_type if is_tpid(eth_type) => {
                Err(value(Field::EthType, &"tc has keys for two tags, this is a third"))
            }
            0..0x0600 => Err(value(Field::EthType, &"an 802.2 frame has no EtherType to match")),
            eth_type => Ok(Some(eth_type)),
        }
    }

    fn outer(&mut self) -> Result<Tag, Refusal> {
        let tag = self.tag(&OUTER)?;
        self.take(Field::VlanTci);
        self.take(Field::VlanTpid);
        Ok(tag)
    }

    /// Writes the keys for what follows a present tag: a second tag, the EtherType or both.
    fn inner(&mut self, eth_type: Option<u16>) -> Result<(), Refusal> {
        let tag = self.tag(&INNER)?;
        self.take(Field::CvlanTci);
        self.take(Field::CvlanTpid);
        match (tag, eth_type) {
            (Tag::Wild, None) => Ok(()),
            (Tag::Wild, Some(_)) => Err(mask(
                Field::CvlanTci,
                &"tc matches an EtherType behind a known number of tags: match on whether there \
                 is a second tag",
            )),
            (Tag::Absent, None) => Err(mask(
                Field::EthType,
                &"tc can match \"no second tag\" by the EtherType only: match on that too",
            )),
            (Tag::Absent, Some(eth_type)) => {
                self.implied |= implied::CVLAN_PRESENT;
                self.out.push(FlowerKey::exact(table::VLAN[2], &eth_type.to_be_bytes()));
                Ok(())
            }
            (Tag::Present { tpid, vid, pcp }, eth_type) => {
                self.out.push(FlowerKey::exact(table::VLAN[2], &tpid.to_be_bytes()));
                self.push_tag(&table::CVLAN, vid, pcp);
                if let Some(eth_type) = eth_type {
                    self.out.push(FlowerKey::exact(table::CVLAN[2], &eth_type.to_be_bytes()));
                }
                Ok(())
            }
        }
    }

    /// Marks the mask of the second tag as implied, because an untagged packet has no second tag.
    fn inner_of_untagged(&mut self) -> Result<(), Refusal> {
        if self.key.cvlan_tci != 0 || self.key.cvlan_tpid != 0 {
            return Err(value(Field::CvlanTci, &"there is no second tag without a first"));
        }
        if self.mask.cvlan_tci & VLAN_PRESENT != 0 {
            self.implied |= implied::CVLAN_PRESENT;
        }
        self.imply_absent(&INNER)?;
        self.take(Field::CvlanTci);
        self.take(Field::CvlanTpid);
        Ok(())
    }

    fn tag(&mut self, place: &TagPlace) -> Result<Tag, Refusal> {
        let (tci, tci_mask) = (low16(self.key.get(place.tci)), low16(self.mask.get(place.tci)));
        let (tpid, tpid_mask) = (low16(self.key.get(place.tpid)), low16(self.mask.get(place.tpid)));
        if tci_mask == 0 && tpid_mask == 0 {
            return Ok(Tag::Wild);
        }
        if tci_mask & VLAN_PRESENT == 0 {
            return Err(mask(place.tci, &"match on whether there is a tag (bit 0x1000) too"));
        }
        if tci & VLAN_PRESENT == 0 {
            if tci != 0 || tpid != 0 {
                return Err(value(place.tci, &"no tag, but bits of one"));
            }
            self.imply_absent(place)?;
            return Ok(Tag::Absent);
        }
        self.check_parts(place)?;
        if tpid_mask == 0 {
            return Err(mask(place.tpid, &"tc tells 0x8100 from 0x88a8: match on it too"));
        }
        if !is_tpid(tpid) {
            return Err(value(place.tpid, Detail::OfHex(&"{} is no tag for tc", u32::from(tpid))));
        }
        let vid = (tci_mask & VID != 0).then_some(tci & VID);
        let pcp = (tci_mask & PCP != 0).then_some((tci >> 13).to_be_bytes()[1]);
        Ok(Tag::Present { tpid, vid, pcp })
    }

    /// Records which parts of an absent tag the mask covers.
    fn imply_absent(&mut self, place: &TagPlace) -> Result<(), Refusal> {
        self.check_parts(place)?;
        let tci = low16(self.mask.get(place.tci));
        let parts = [
            (tci & VID != 0, place.implied_vid),
            (tci & PCP != 0, place.implied_pcp),
            (self.mask.get(place.tpid) != 0, place.implied_tpid),
        ];
        parts.iter().filter(|(covered, _)| *covered).for_each(|(_, bit)| self.implied |= bit);
        Ok(())
    }

    /// VID, PCP and TPID are matched whole or not at all.
    fn check_parts(&self, place: &TagPlace) -> Result<(), Refusal> {
        let tci = low16(self.mask.get(place.tci));
        for part in [VID, PCP] {
            if tci & part != 0 && tci & part != part {
                return Err(partial(place.tci, u128::from(tci)));
            }
        }
        self.whole(place.tpid)
    }

    fn push_tag(&mut self, kinds: &[u16; 3], vid: Option<u16>, pcp: Option<u8>) {
        if let Some(vid) = vid {
            self.out.push(FlowerKey::exact(kinds[0], &vid.to_ne_bytes()));
        }
        if let Some(pcp) = pcp {
            self.out.push(FlowerKey::exact(kinds[1], &[pcp]));
        }
    }
}

/// Returns the low 16 bits, for a field of at most 16 bits.
fn low16(value: u128) -> u16 {
    let [.., high, low] = value.to_be_bytes();
    u16::from_be_bytes([high, low])
}
