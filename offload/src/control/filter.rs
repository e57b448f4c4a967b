//! Which flows a dump shows: `filter=…` in ODP text or in the short words of `ovs-ofctl`.

use flow::{Field, Key, MacAddr, Mask, Match, odp};

/// Words that stand for an EtherType, and those that name a protocol in it.
const PROTOCOLS: [(&str, u16, Option<u8>); 13] = [
    ("ip", 0x0800, None),
    ("ipv6", 0x86dd, None),
    ("arp", 0x0806, None),
    ("mpls", 0x8847, None),
    ("mplsm", 0x8848, None),
    ("icmp", 0x0800, Some(1)),
    ("tcp", 0x0800, Some(6)),
    ("udp", 0x0800, Some(17)),
    ("sctp", 0x0800, Some(132)),
    ("icmp6", 0x86dd, Some(58)),
    ("tcp6", 0x86dd, Some(6)),
    ("udp6", 0x86dd, Some(17)),
    ("sctp6", 0x86dd, Some(132)),
];

/// Names of fields.
const FIELDS: [(&str, Field); 22] = [
    ("dl_src", Field::EthSrc),
    ("dl_dst", Field::EthDst),
    ("eth_src", Field::EthSrc),
    ("eth_dst", Field::EthDst),
    ("dl_type", Field::EthType),
    ("eth_type", Field::EthType),
    ("recirc_id", Field::RecircId),
    ("nw_src", Field::Ipv4Src),
    ("nw_dst", Field::Ipv4Dst),
    ("ip_src", Field::Ipv4Src),
    ("ip_dst", Field::Ipv4Dst),
    ("ipv6_src", Field::Ipv6Src),
    ("ipv6_dst", Field::Ipv6Dst),
    ("arp_spa", Field::ArpSip),
    ("arp_tpa", Field::ArpTip),
    ("nw_proto", Field::IpProto),
    ("nw_tos", Field::IpTos),
    ("nw_ttl", Field::IpTtl),
    ("tp_src", Field::TpSrc),
    ("tp_dst", Field::TpDst),
    ("icmp_type", Field::TpSrc),
    ("icmp_code", Field::TpDst),
];

/// A filter: a flow passes if its key has these values in these bits, as in OVS. What the flow
/// leaves wild counts as zero there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    key: Key,
    mask: Mask,
}

impl Filter {
    /// Reads `in_port(1),eth_type(0x0800)` or `in_port=1,tcp,nw_dst=10.0.0.0/8`.
    pub fn parse(text: &str, ports: odp::Ports<'_>) -> Result<Filter, String> {
        if text.contains('(') {
            return odp::parse_masked(text, ports)
                .map(|(key, mask)| Filter { key: key.masked(&mask), mask })
                .map_err(|error| format!("filter '{text}': {error}"));
        }
        let mut filter = Filter::default();
        for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
            filter.word(word, ports).map_err(|why| format!("filter '{text}': {why}"))?;
        }
        Ok(filter)
    }

    /// Does the flow pass?
    #[must_use]
    pub fn passes(&self, matching: &Match) -> bool {
        matching.key().masked(&self.mask) == self.key
    }

    fn set(&mut self, field: Field, value: u128, mask: u128) {
        self.key.set(field, value & mask);
        self.mask.set(field, mask);
    }

    fn word(&mut self, word: &str, ports: odp::Ports<'_>) -> Result<(), String> {
        let Some((name, value)) = word.split_once('=') else {
            let Some((_, eth_type, protocol)) = PROTOCOLS.iter().find(|(name, ..)| *name == word)
            else {
                return Err(format!("'{word}' is no protocol and no field=value"));
            };
            self.set(Field::EthType, u128::from(*eth_type), 0xffff);
            if let Some(protocol) = protocol {
                self.set(Field::IpProto, u128::from(*protocol), 0xff);
            }
            return Ok(());
        };
        match name {
            "in_port" => {
                let number = number(value).or_else(|| ports(value).map(|port| port.0.into()));
                let number = number.ok_or_else(|| format!("no port '{value}'"))?;
                self.set(Field::InPort, number, u128::from(u32::MAX));
            }
            "dl_vlan" => {
                let vid = number(value).filter(|vid| *vid < 4096);
                let vid = vid.ok_or_else(|| format!("'{value}' is no VLAN id"))?;
                let present = u128::from(flow::VLAN_PRESENT);
                self.set(Field::VlanTci, vid | present, 0xfff | present);
            }
            _ => {
                let known = FIELDS.iter().find(|(field, _)| *field == name);
                let (_, field) = known.ok_or_else(|| format!("no field '{name}'"))?;
                let (value, mask) = masked(*field, value)
                    .ok_or_else(|| format!("'{value}' is no value of {name}"))?;
                self.set(*field, value, mask);
            }
        }
        Ok(())
    }
}

/// `VALUE`, `VALUE/MASK` or, for addresses, `VALUE/LENGTH`.
fn masked(field: Field, text: &str) -> Option<(u128, u128)> {
    let full = field.full_mask();
    let (value, mask) = match text.split_once('/') {
        None => (value(field, text)?, full),
        Some((address, mask)) => {
            let is_address =
                matches!(field, Field::ArpSip | Field::ArpTip | Field::Ipv4Src | Field::Ipv4Dst)
                    || matches!(field, Field::Ipv6Src | Field::Ipv6Dst);
            let length = mask.parse::<u32>().ok().filter(|_| is_address);
            let mask = match length {
                Some(length) => full & !full.checked_shr(length).unwrap_or(0),
                None => value(field, mask)?,
            };
            (value(field, address)?, mask)
        }
    };
    (value <= full && mask <= full).then_some((value, mask))
}

fn value(field: Field, text: &str) -> Option<u128> {
    match field {
        Field::EthSrc | Field::EthDst => text.parse::<MacAddr>().ok().map(u128::from),
        Field::Ipv4Src | Field::Ipv4Dst | Field::ArpSip | Field::ArpTip => {
            text.parse::<std::net::Ipv4Addr>().ok().map(|address| u128::from(address.to_bits()))
        }
        Field::Ipv6Src | Field::Ipv6Dst => {
            text.parse::<std::net::Ipv6Addr>().ok().map(std::net::Ipv6Addr::to_bits)
        }
        _ => number(text),
    }
}

fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::PortId;

    fn ports(name: &str) -> Option<PortId> {
        (name == "vf0").then_some(PortId(1))
    }

    #[test]
    fn both_ways_of_writing_say_the_same() {
        let text = "in_port(1),eth_type(0x0800),ipv4(dst=10.1.2.3,proto=6),tcp(dst=80)";
        let flow = odp::parse_match(text).unwrap();
        for (filter, passes) in [
            ("", true),
            ("in_port(1)", true),
            ("in_port(2)", false),
            ("eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0)", true),
            ("in_port=vf0", true),
            ("in_port=2", false),
            ("tcp,nw_dst=10.0.0.0/8", true),
            ("tcp,nw_dst=10.0.0.0/255.0.0.0,tp_dst=80", true),
            ("tcp tp_dst=0x51", false),
            ("nw_dst=0.0.0.0/0", true),
            ("udp", false),
            ("ipv6", false),
            ("dl_vlan=5", false),
        ] {
            let filter_ = Filter::parse(filter, &ports).unwrap();
            assert_eq!(filter_.passes(&flow), passes, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_an_error() {
        for bad in [
            "foo",
            "foo=1",
            "in_port=x",
            "tp_dst=65536",
            "nw_dst=10.0",
            "dl_vlan=4096",
            "in_port(",
            "eth_src=1:2",
            "tp_dst=1/2/3",
        ] {
            let error = Filter::parse(bad, &ports).unwrap_err();
            assert!(error.starts_with("filter '"), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
