//! Translates the actions that push and pop VLAN tags and MPLS labels.

use flow::{ActionKind, Detail, Reason, Refusal, VLAN_PRESENT};

use super::header::L3;
use super::{List, order};
use crate::rule::TcAction;
use crate::translate::mpls;
use crate::translate::tags::{self, Tags};

impl List<'_> {
    pub(super) fn push_vlan(&mut self, tpid: u16, tci: u16) -> Result<(), Refusal> {
        let refuse = |why| Err(Refusal::new(Reason::Action, ActionKind::PushVlan).detail(why));
        if !tags::is_tpid(tpid) {
            return refuse(Detail::OfHex(&"tpid {} is no tag for tc", u32::from(tpid)));
        }
        if tci & VLAN_PRESENT == 0 {
            return refuse(Detail::Words(&"the tci lacks the presence bit 0x1000"));
        }
        let pcp = (tci >> 13).to_be_bytes()[1];
        self.out.push(TcAction::VlanPush { tpid, vid: tci & 0x0fff, pcp });
        self.context.tags = match self.context.tags {
            Tags::Exactly(tags) => Tags::Exactly(tags.saturating_add(1)),
            Tags::AtLeast(tags) => Tags::AtLeast(tags.saturating_add(1)),
            Tags::Unknown => Tags::AtLeast(1),
        };
        Ok(())
    }

    pub(super) fn pop_vlan(&mut self) -> Result<(), Refusal> {
        self.context.tags = match self.context.tags {
            Tags::Exactly(tags) if tags > 0 => Tags::Exactly(tags - 1),
            Tags::AtLeast(tags) if tags > 1 => Tags::AtLeast(tags - 1),
            Tags::AtLeast(1) => Tags::Unknown,
            Tags::Exactly(_) | Tags::AtLeast(_) | Tags::Unknown => {
                return Err(order(ActionKind::PopVlan, &"match on the tag that is taken off"));
            }
        };
        self.out.push(TcAction::VlanPop);
        Ok(())
    }

    pub(super) fn push_mpls(&mut self, lse: u32, eth_type: u16) -> Result<(), Refusal> {
        self.mpls_place(ActionKind::PushMpls)?;
        if !matches!(eth_type, mpls::UNICAST | mpls::MULTICAST) {
            return Err(Refusal::new(Reason::Action, ActionKind::PushMpls)
                .detail(Detail::OfHex(&"{} is no EtherType of MPLS", u32::from(eth_type))));
        }
        if lse & 0xff == 0 {
            return Err(
                Refusal::new(Reason::Action, ActionKind::PushMpls).detail(&"tc wants a TTL")
            );
        }
        self.out.push(TcAction::MplsPush { lse, protocol: eth_type });
        self.context.l3 = L3::Unknown;
        self.context.mpls = true;
        Ok(())
    }

    pub(super) fn pop_mpls(&mut self, eth_type: u16) -> Result<(), Refusal> {
        self.mpls_place(ActionKind::PopMpls)?;
        if !self.context.mpls {
            return Err(order(ActionKind::PopMpls, &"match on the label that is taken off"));
        }
        self.out.push(TcAction::MplsPop { protocol: eth_type });
        // The header under the label was not matched, so changing that header takes another
        // lookup.
        self.context.l3 = L3::Unknown;
        self.context.mpls = matches!(eth_type, mpls::UNICAST | mpls::MULTICAST);
        Ok(())
    }

    /// Refuses a push or pop of a label if the packet may have a VLAN tag, because tc expects
    /// labels directly behind the addresses.
    fn mpls_place(&self, kind: ActionKind) -> Result<(), Refusal> {
        match self.context.tags {
            Tags::Exactly(0) => Ok(()),
            Tags::Exactly(_) | Tags::Unknown | Tags::AtLeast(_) => {
                Err(order(kind, &"match on \"no VLAN tag\": labels go behind the addresses"))
            }
        }
    }
}
