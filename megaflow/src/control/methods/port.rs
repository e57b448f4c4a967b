//! Methods that put in packets by hand.

use flow::PortId;

use super::Context;
use super::ask::{port_names, status};

/// The shortest packet in bytes: an Ethernet header.
const SHORTEST: usize = 14;
/// The longest packet in bytes: the largest frame that the datapath's ports take.
const LONGEST: usize = 9216;

pub(super) fn receive(context: &Context, params: &[&str]) -> Result<String, String> {
    let [name, packets @ ..] = params else { return Err("port/receive PORT HEX".to_owned()) };
    let port = {
        let status = status(context)?;
        let by_number = name.parse().ok().map(PortId);
        let by_number = by_number.filter(|id| status.ports.iter().any(|port| port.id == *id));
        let found = port_names(&status)(name).or(by_number);
        found.ok_or_else(|| format!("no port '{name}'"))?
    };
    let packets = packets.iter().map(|text| packet(text)).collect::<Result<Vec<_>, _>>()?;
    for packet in packets {
        context.handle.receive(port, packet).map_err(|error| error.to_string())?;
    }
    Ok(String::new())
}

fn packet(text: &str) -> Result<Vec<u8>, String> {
    if text.contains('(') {
        return Err(format!("'{text}' is a key: give the packet's bytes as hex digits"));
    }
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
            }
            _ => None,
        })
        .collect();
    let bytes = bytes.ok_or_else(|| format!("'{text}' is not pairs of hex digits"))?;
    if !(SHORTEST..=LONGEST).contains(&bytes.len()) {
        let length = bytes.len();
        return Err(format!("a packet has {SHORTEST} to {LONGEST} bytes, this one {length}"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::packet;

    #[test]
    fn packets_are_hex_digits() {
        let text = "ffffffffffff 02:00:00:00:00:01 0806";
        assert_eq!(packet(text).unwrap().len(), 14);
        for bad in ["", "zz", "fff", "+1", "ff", "in_port(1)", &"00".repeat(9217)] {
            assert!(packet(bad).is_err(), "{bad}");
        }
    }
}
