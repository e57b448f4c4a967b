//! `set`: words of headers, and the checksums that go with them.

use flow::refusal::Words;
use flow::{ActionKind, Attr, Field, Reason, Reasons, Refusal, Refusals, SetFields};

use super::List;
pub(crate) use super::header::fields as words_to_fields;
use super::header::{self, L3, PLACES, PeditPlace};
use crate::netlink::consts::{
    TCA_CSUM_UPDATE_FLAG_ICMP, TCA_CSUM_UPDATE_FLAG_IPV4HDR, TCA_CSUM_UPDATE_FLAG_TCP,
    TCA_CSUM_UPDATE_FLAG_UDP,
};
use crate::rule::{Header, TcAction};
use crate::translate::transport;

fn places(header: Header) -> impl Iterator<Item = &'static PeditPlace> {
    PLACES.iter().filter(move |place| place.header == header)
}

impl List<'_> {
    pub(super) fn set(&mut self, set: &SetFields) -> Result<(), Refusals> {
        let Some(first) = set.mask.fields().next() else {
            let refusal =
                Refusal::new(Reason::Action, ActionKind::Set).detail(&"the action sets no field");
            return Err(refusal.into());
        };
        let mut reasons = Reasons::default();
        let header = self.header(set, first)?;
        let covered = |field: &Field| places(header).any(|place| place.field == *field);
        let foreign = set.mask.fields().filter(|field| !covered(field));
        reasons.extend(foreign.map(not_rewritten));
        let stale = reasons.keep(self.checksums(set, header)).unwrap_or_default();
        let words = header::words(header, &set.value, &set.mask);
        self.words += words.len();
        reasons.into_result(())?;
        self.out.push(TcAction::Pedit(words));
        self.stale |= stale;
        Ok(())
    }

    /// Returns the header that a set rewrites, or refuses the set if the match does not say that
    /// the packet has this header.
    fn header(&self, set: &SetFields, first: Field) -> Result<Header, Refusals> {
        let ip = match set.attr {
            Attr::Eth => return Ok(Header::Ethernet),
            Attr::Ipv4 => L3::Ipv4,
            Attr::Ipv6 => L3::Ipv6,
            Attr::Ip if set.protocol == 4 => L3::Ipv4,
            Attr::Ip if set.protocol == 6 => L3::Ipv6,
            Attr::Ip => self.context.l3,
            Attr::Transport => return Ok(self.transport(set, first)?),
            Attr::RecircId
            | Attr::DpHash
            | Attr::InPort
            | Attr::Vlan
            | Attr::Cvlan
            | Attr::EthType
            | Attr::Mpls
            | Attr::TcpFlags
            | Attr::Arp => {
                let more = set.mask.fields().skip(1).map(not_rewritten).collect();
                return Err(Refusals::new(not_rewritten(first), more));
            }
        };
        let header = header::of(ip).filter(|_| ip == self.context.l3);
        let why: Words = &"match on the EtherType of the header that is rewritten";
        Ok(header.ok_or_else(|| refuse(first, why))?)
    }

    fn transport(&self, set: &SetFields, first: Field) -> Result<Header, Refusal> {
        if self.context.l3 == L3::Unknown || self.context.protocol != Some(set.protocol) {
            return Err(refuse(first, &"match on the ip_proto of the header that is rewritten"));
        }
        match set.protocol {
            transport::TCP => Ok(Header::Tcp),
            transport::UDP => Ok(Header::Udp),
            _ => Err(refuse(first, &"tc rewrites the ports of TCP and UDP only")),
        }
    }

    /// Returns the checksums that a set makes wrong, as flags of the csum action.
    fn checksums(&self, set: &SetFields, header: Header) -> Result<u32, Refusal> {
        let (own, addresses) = match header {
            Header::Ethernet => return Ok(0),
            Header::Ipv4 => (TCA_CSUM_UPDATE_FLAG_IPV4HDR, [Field::Ipv4Src, Field::Ipv4Dst]),
            Header::Ipv6 => (0, [Field::Ipv6Src, Field::Ipv6Dst]),
            Header::Tcp => return self.whole_packet(TCA_CSUM_UPDATE_FLAG_TCP, Field::TpSrc),
            Header::Udp => return self.whole_packet(TCA_CSUM_UPDATE_FLAG_UDP, Field::TpSrc),
        };
        let Some(address) = addresses.into_iter().find(|field| set.mask.get(*field) != 0) else {
            return Ok(own);
        };
        // The checksums of TCP, UDP and ICMPv6 cover the addresses.
        match (self.context.protocol, header) {
            (None, _) => Err(refuse(address, &"match on ip_proto: it says which checksum changes")),
            (Some(transport::TCP), _) => {
                Ok(own | self.whole_packet(TCA_CSUM_UPDATE_FLAG_TCP, address)?)
            }
            (Some(transport::UDP), _) => {
                Ok(own | self.whole_packet(TCA_CSUM_UPDATE_FLAG_UDP, address)?)
            }
            (Some(transport::ICMPV6), Header::Ipv6) => {
                Ok(own | self.whole_packet(TCA_CSUM_UPDATE_FLAG_ICMP, address)?)
            }
            (Some(_), _) => Ok(own),
        }
    }

    /// Refuses fragments: a checksum over the payload can be corrected only in a packet that has
    /// the whole payload.
    fn whole_packet(&self, flag: u32, field: Field) -> Result<u32, Refusal> {
        if self.context.whole {
            return Ok(flag);
        }
        Err(refuse(field, &"match frag=no: a fragment's checksum can't be made right"))
    }
}

fn not_rewritten(field: Field) -> Refusal {
    refuse(field, &"tc does not rewrite it")
}

fn refuse(field: Field, why: Words) -> Refusal {
    Refusal::new(Reason::SetField, field).detail(why)
}
