//! A match on its way to flower keys: what has been translated, and what is left of the mask.

use std::sync::Arc;

use flow::{Detail, Field, Key, Mask, Reason, Reasons, Refusal};

use super::table::Simple;
use crate::rule::FlowerKey;

/// Fields that the mask covers and the filter implies: bits of [`Rule::implied`].
pub(crate) mod implied {
    pub(crate) const VLAN_VID: u16 = 1 << 0;
    pub(crate) const VLAN_PCP: u16 = 1 << 1;
    pub(crate) const VLAN_TPID: u16 = 1 << 2;
    pub(crate) const CVLAN_PRESENT: u16 = 1 << 3;
    pub(crate) const CVLAN_VID: u16 = 1 << 4;
    pub(crate) const CVLAN_PCP: u16 = 1 << 5;
    pub(crate) const CVLAN_TPID: u16 = 1 << 6;
    pub(crate) const MPLS1: u16 = 1 << 7;
    pub(crate) const MPLS2: u16 = 1 << 8;
    /// The bits for which the cookie has room.
    pub(crate) const ALL: u16 = 0x0fff;
}

/// A match on its way to flower keys.
pub(super) struct FlowerKeys<'a> {
    pub(super) key: &'a Key,
    pub(super) mask: &'a Mask,
    /// Mask bits that are neither translated nor refused yet.
    pub(super) left: Mask,
    pub(super) out: Vec<FlowerKey>,
    pub(super) implied: u16,
    pub(super) reasons: &'a mut Reasons,
}

impl<'a> FlowerKeys<'a> {
    pub(super) fn new(key: &'a Key, mask: &'a Mask, reasons: &'a mut Reasons) -> FlowerKeys<'a> {
        FlowerKeys { key, mask, left: *mask, out: Vec::with_capacity(12), implied: 0, reasons }
    }

    /// Returns the result of translating these fields. A refusal is kept in `reasons`, and the
    /// fields are marked as done, so that they are not refused again as left over.
    pub(super) fn part<T>(&mut self, fields: &[Field], result: Result<T, Refusal>) -> Option<T> {
        if result.is_err() {
            fields.iter().for_each(|field| self.take(*field));
        }
        self.reasons.keep(result)
    }

    /// Translates fields whose bits go to a flower key unchanged, under any mask.
    pub(super) fn simple(&mut self, fields: &[Simple]) {
        for simple in fields {
            let mask = self.left.get(simple.field);
            if mask == 0 {
                continue;
            }
            let value = self.key.get(simple.field).to_be_bytes();
            let bits = mask.to_be_bytes();
            let from = 16 - simple.len;
            self.out.push(FlowerKey::masked(
                simple.kind,
                simple.mask_kind,
                &value[from..],
                &bits[from..],
            ));
            self.take(simple.field);
        }
    }

    /// Refuses a field that is matched in part.
    pub(super) fn whole(&self, field: Field) -> Result<(), Refusal> {
        let mask = self.mask.get(field);
        if mask == 0 || mask == field.full_mask() {
            return Ok(());
        }
        Err(partial(field, mask))
    }

    /// Marks a field as translated.
    pub(super) fn take(&mut self, field: Field) {
        self.left.set(field, 0);
    }

    /// Refuses the fields that are left over.
    pub(super) fn finish(&mut self) {
        for field in self.left.fields() {
            let refusal = Refusal::new(Reason::MatchField, field);
            self.reasons.add(refusal.detail(&"tc has no key for it in such packets"));
        }
    }
}

pub(super) fn partial(field: Field, mask: u128) -> Refusal {
    Refusal::new(Reason::MatchMask, field).detail(Detail::PartialMask(Arc::new(mask)))
}

pub(super) fn mask(field: Field, why: impl Into<Detail>) -> Refusal {
    Refusal::new(Reason::MatchMask, field).detail(why)
}

pub(super) fn value(field: Field, why: impl Into<Detail>) -> Refusal {
    Refusal::new(Reason::MatchValue, field).detail(why)
}
