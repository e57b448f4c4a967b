//! Selects the flows that a dump shows, by `filter=…` in ODP text or in the words of `ovs-ofctl`.

mod names;

use flow::{Field, Key, MacAddr, Mask, Match, odp};

use names::{FIELDS, Named, Needs, PROTOCOLS, is_wild_everywhere};

/// A filter stands for all packets that have these values in these bits. As in OVS, a filter
/// shows every megaflow that such a packet can hit. A megaflow that leaves a field wild therefore
/// passes, whatever the filter says about that field.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowFilter {
    key: Key,
    mask: Mask,
}

impl FlowFilter {
    /// Reads `in_port=1,tcp,nw_dst=10.0.0.0/8` as OVS does, and also masks and prefixes, or ODP
    /// text such as `in_port(1),eth_type(0x0800)`. A field that the filter does not name is wild;
    /// this includes the VLAN tag. An error names the word at fault.
    pub fn parse(text: &str, ports: odp::PortsByName<'_>) -> Result<FlowFilter, String> {
        let filter = match words(text, ports) {
            // OVS reads `in_port(1),tcp` as words too. A text with parentheses that can't be read
            // as words is ODP text.
            Err(_) if text.contains('(') => odp_text(text, ports),
            read => read,
        };
        filter.map_err(|why| format!("filter '{text}': {why}"))
    }

    /// Returns true if some packet of the filter hits the megaflow.
    #[must_use]
    pub fn passes(&self, matching: &Match) -> bool {
        let both = self.mask.masked(matching.mask());
        self.key.masked(&both) == matching.key().masked(&both)
    }

    /// Adds a condition. A condition that contradicts an earlier one is an error.
    fn set(&mut self, field: Field, value: u128, mask: u128) -> Result<(), String> {
        let (old, said) = (self.key.get(field), self.mask.get(field));
        if (old ^ value) & said & mask != 0 {
            return Err(format!("contradicts an earlier condition on {}", field.name()));
        }
        self.key.set(field, old | value & mask);
        self.mask.set(field, said | mask);
        Ok(())
    }

    /// Adds the headers that a field is in. A header with one possible value is implied. If
    /// several values are possible and the filter has none of them, that is an error.
    fn require(&mut self, needs: &Needs) -> Result<(), String> {
        let wants = || format!("needs {} beside it", needs.words);
        let protocols: Vec<u16> = needs.protocols.iter().map(|one| u16::from(*one)).collect();
        for (field, choices) in [(Field::EthType, needs.types), (Field::IpProto, &protocols)] {
            let said = self.mask.get(field) == field.full_mask();
            match choices {
                [] => {}
                _ if said && choices.iter().any(|one| u128::from(*one) == self.key.get(field)) => {}
                [one] => {
                    let set = self.set(field, u128::from(*one), field.full_mask());
                    set.map_err(|_| wants())?;
                }
                _ => return Err(wants()),
            }
        }
        Ok(())
    }
}

fn odp_text(text: &str, ports: odp::PortsByName<'_>) -> Result<FlowFilter, String> {
    let (key, mask) = odp::parse_masked(text, ports).map_err(|error| error.to_string())?;
    Ok(FlowFilter { key, mask })
}

fn words(text: &str, ports: odp::PortsByName<'_>) -> Result<FlowFilter, String> {
    let mut filter = FlowFilter::default();
    let mut needed = Vec::new();
    for word in text.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty()) {
        let needs = add(&mut filter, word, ports).map_err(|why| format!("'{word}' {why}"))?;
        needed.extend(needs.map(|needs| (word, needs)));
    }
    for (word, needs) in needed {
        filter.require(needs).map_err(|why| format!("'{word}' {why}"))?;
    }
    Ok(filter)
}

/// Adds one word. Returns the headers that the word needs.
fn add(
    filter: &mut FlowFilter,
    word: &str,
    ports: odp::PortsByName<'_>,
) -> Result<Option<&'static Needs>, String> {
    let in_parentheses = || word.strip_suffix(')')?.split_once('(');
    let Some((name, text)) = word.split_once('=').or_else(in_parentheses) else {
        let found = PROTOCOLS.iter().find(|(name, ..)| *name == word);
        let (_, eth_type, protocol) = found.ok_or("is neither a protocol nor field=value")?;
        filter.set(Field::EthType, u128::from(*eth_type), 0xffff)?;
        if let Some(protocol) = protocol {
            filter.set(Field::IpProto, u128::from(*protocol), 0xff)?;
        }
        return Ok(None);
    };
    if is_wild_everywhere(name) {
        return Ok(None);
    }
    let found = FIELDS.iter().find(|field| field.names.contains(&name));
    let named = found.ok_or_else(|| format!("is not a condition: there is no field '{name}'"))?;
    let (value, mask) = match named.field {
        Field::InPort => {
            let port = number(text).or_else(|| ports(text).map(|port| port.0.into()));
            let port = port.filter(|port| *port <= named.field.full_mask());
            (port.ok_or("names no port")?, named.field.full_mask())
        }
        Field::TcpFlags => tcp_flags(text, ports)?,
        Field::IpFrag => match text {
            "no" => (0, 0xff),
            "first" => (1, 0xff),
            "later" => (2, 0xff),
            "yes" => return Err("is not one kind of fragment: no, first or later".to_owned()),
            _ => return Err("is not a kind of fragment: expected no, first or later".to_owned()),
        },
        // OpenFlow 1.0's word for "no tag".
        Field::VlanTci if name == "dl_vlan" && number(text) == Some(0xffff) => (0, 0xffff),
        _ => named.condition(text)?,
    };
    filter.set(named.field, value, mask)?;
    Ok(named.needs)
}

/// Reads flags by name or number, as in `tcp_flags(…)`.
fn tcp_flags(text: &str, ports: odp::PortsByName<'_>) -> Result<(u128, u128), String> {
    let text = format!("eth_type(0x0800),ipv4(proto=6),tcp_flags({text})");
    let (key, mask) = odp::parse_masked(&text, ports).map_err(|error| error.message)?;
    Ok((key.tcp_flags.into(), mask.tcp_flags.into()))
}

impl Named {
    /// Reads `VALUE`, `VALUE/MASK` or, for IP addresses, `VALUE/LENGTH`, and places value and
    /// mask in the field.
    fn condition(&self, text: &str) -> Result<(u128, u128), String> {
        let full = u128::MAX >> (128 - self.bits);
        let (value, mask) = match text.split_once('/') {
            None => (self.value(text, full)?, full),
            Some((value, mask)) => {
                let length = mask.parse::<u32>().ok().filter(|_| self.is_address());
                let mask = match length {
                    Some(length) if length > self.bits => {
                        let most = self.bits;
                        return Err(format!("has a prefix of {length} bits: at most {most}"));
                    }
                    Some(length) => full & !full.checked_shr(length).unwrap_or(0),
                    None => self.value(mask, full)?,
                };
                (self.value(value, full)?, mask)
            }
        };
        let place = |bits: u128| (bits << self.shift) & self.cover | self.always;
        Ok((place(value & mask), place(mask)))
    }

    /// Reads a value or mask in the form of the field's values. A number above `most` is an
    /// error.
    fn value(&self, text: &str, most: u128) -> Result<u128, String> {
        let wrong = |form: &str| format!("has '{text}', which is not {form}");
        let value = match self.field {
            Field::EthSrc | Field::EthDst | Field::ArpSha | Field::ArpTha => {
                let address = text.parse::<MacAddr>();
                address.map(u128::from).map_err(|_| wrong("an Ethernet address"))?
            }
            Field::Ipv6Src | Field::Ipv6Dst => {
                let address = text.parse::<std::net::Ipv6Addr>();
                address.map(std::net::Ipv6Addr::to_bits).map_err(|_| wrong("an IPv6 address"))?
            }
            _ if self.is_address() => {
                let address = text.parse::<std::net::Ipv4Addr>();
                address.map(|a| a.to_bits().into()).map_err(|_| wrong("an IPv4 address"))?
            }
            _ => number(text).ok_or_else(|| wrong("a number"))?,
        };
        if value > most {
            return Err(format!("has '{text}', which is too large: at most {most} ({most:#x})"));
        }
        Ok(value)
    }

    fn is_address(&self) -> bool {
        matches!(
            self.field,
            Field::Ipv4Src
                | Field::Ipv4Dst
                | Field::ArpSip
                | Field::ArpTip
                | Field::Ipv6Src
                | Field::Ipv6Dst
        )
    }
}

fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
