//! Translates MPLS: the outermost entry, of which each part is matched whole or not at all.

use flow::{Field, Refusal};

use super::keys::{FlowerKeys, implied, partial};
use super::table;
use crate::rule::FlowerKey;

pub(super) const UNICAST: u16 = 0x8847;
pub(super) const MULTICAST: u16 = 0x8848;
const BOS: u32 = 0x100;

impl FlowerKeys<'_> {
    pub(super) fn mpls(&mut self) {
        let entry = self.outermost();
        self.part(&[Field::Mpls0], entry);
        // A key has zeros for the entries below the bottom of the stack.
        if self.key.mpls0 & self.mask.mpls0 & BOS != 0 {
            self.below_bottom(Field::Mpls1, implied::MPLS1);
            self.below_bottom(Field::Mpls2, implied::MPLS2);
        }
    }

    fn outermost(&mut self) -> Result<(), Refusal> {
        let (key, mask) = (self.key.mpls0, self.mask.mpls0);
        for (kind, shift, bits) in [
            (table::MPLS_TTL, 0, 0xff),
            (table::MPLS_BOS, 8, 1),
            (table::MPLS_TC, 9, 7),
            (table::MPLS_LABEL, 12, 0xf_ffff),
        ] {
            let value = key >> shift & bits;
            match mask >> shift & bits {
                0 => {}
                covered if covered != bits => {
                    return Err(partial(Field::Mpls0, u128::from(mask)));
                }
                _ if kind == table::MPLS_LABEL => {
                    self.out.push(FlowerKey::exact(kind, &value.to_ne_bytes()));
                }
                _ => self.out.push(FlowerKey::exact(kind, &value.to_be_bytes()[3..])),
            }
        }
        self.take(Field::Mpls0);
        Ok(())
    }

    fn below_bottom(&mut self, field: Field, bit: u16) {
        if self.mask.get(field) == field.full_mask() && self.key.get(field) == 0 {
            self.implied |= bit;
            self.take(field);
        }
    }
}
