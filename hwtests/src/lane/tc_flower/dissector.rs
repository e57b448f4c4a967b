//! What tc reads in packets whose headers are cut or lie: the table of decision 13, row by row.
//!
//! Of each packet each field is asked for by a megaflow of its own, of the host's key and of the
//! card, which looks through the kernel's dissector.

use super::rig::*;

const TOS: &str = "TOS";
const TTL: &str = "TTL";
const PROTOCOL: &str = "protocol";
const ADDRESSES: &str = "addresses";
const FRAGMENT: &str = "first fragment";
const PORTS: &str = "ports";
const FLAGS: &str = "flags";
const TYPE: &str = "type and code";
/// All that a megaflow can ask for.
const FIELDS: [&str; 8] = [TOS, TTL, PROTOCOL, ADDRESSES, FRAGMENT, PORTS, FLAGS, TYPE];

/// One kind of packet: a row of the decision's table, unless tc reads what the key has.
#[derive(Clone)]
struct Row {
    packets: &'static str,
    /// The fields that the packets carry and the key does not have.
    key_lacks: &'static [&'static str],
    /// The fields among those that tc reads all the same.
    tc_reads: &'static [&'static str],
    /// The fields that the key has and tc does not read.
    tc_lacks: &'static [&'static str],
    examples: Vec<Packet>,
}

impl Row {
    /// What a field's megaflow has to meet: the host's verdict and the card's.
    fn verdicts(&self, field: &str) -> (bool, bool) {
        let host = !self.key_lacks.contains(&field);
        let card =
            if host { !self.tc_lacks.contains(&field) } else { self.tc_reads.contains(&field) };
        (host, card)
    }
}

fn rows() -> Vec<Row> {
    [tcp(), other_transports(), lengths(), extensions(), many_extensions()].concat()
}

/// TCP headers that are cut, or whose data offset is not possible.
fn tcp() -> Vec<Row> {
    vec![
        Row {
            packets: "TCP with 4–19 bytes of its header in the frame",
            key_lacks: &[PORTS, FLAGS],
            tc_reads: &[PORTS],
            tc_lacks: &[],
            examples: cut(TCP, (4..20).map(|n| (n, n)).chain([(0, 4), (3, 19)])),
        },
        Row {
            packets: "TCP cut below 20 bytes in a frame that has as many with its padding",
            key_lacks: &[PORTS, FLAGS],
            tc_reads: &[PORTS, FLAGS],
            tc_lacks: &[],
            examples: cut(TCP, (0..20).map(|n| (n, 20))),
        },
        Row {
            packets: "TCP with a data offset below 5",
            key_lacks: &[PORTS, FLAGS],
            tc_reads: &[PORTS],
            tc_lacks: &[],
            examples: (0..5).flat_map(|words| tcp_offset(words, 20)).collect(),
        },
        Row {
            packets: "TCP with a data offset beyond the packet",
            key_lacks: &[PORTS, FLAGS],
            tc_reads: &[PORTS, FLAGS],
            tc_lacks: &[],
            examples: [(6, 20), (6, 60), (15, 20), (15, 60)]
                .into_iter()
                .flat_map(|(words, padded)| tcp_offset(words, padded))
                .collect(),
        },
    ]
}

/// Other transport headers that are cut.
fn other_transports() -> Vec<Row> {
    vec![
        Row {
            packets: "UDP cut below 8 bytes in a frame that has 4 with its padding",
            key_lacks: &[PORTS],
            tc_reads: &[PORTS],
            tc_lacks: &[],
            examples: cut(UDP, (4..8).map(|n| (n, n)).chain([(0, 4), (3, 8)])),
        },
        Row {
            packets: "SCTP cut below 12 bytes in a frame that has 4 with its padding",
            key_lacks: &[PORTS],
            tc_reads: &[PORTS],
            tc_lacks: &[],
            examples: cut(SCTP, (4..12).map(|n| (n, n)).chain([(0, 4), (3, 12)])),
        },
        Row {
            packets: "ICMP, ICMPv6 cut below 8 bytes in a frame that has as many with its padding",
            key_lacks: &[TYPE],
            tc_reads: &[TYPE],
            tc_lacks: &[],
            examples: (0..8)
                .flat_map(|n| [ipv4(ICMP, n, 8, |_| {}), ipv6(ICMPV6, n, 8, |_| {})])
                .collect(),
        },
        Row {
            packets: "TCP, UDP, SCTP with less than 4 bytes in the frame, ICMP with less than 8",
            key_lacks: &[PORTS, FLAGS, TYPE],
            tc_reads: &[],
            tc_lacks: &[],
            examples: [TCP, UDP, SCTP]
                .into_iter()
                .flat_map(|header| cut(header, (0..4).map(|n| (n, n))))
                .chain((0..8).flat_map(|n| [ipv4(ICMP, n, n, |_| {}), ipv6(ICMPV6, n, n, |_| {})]))
                .collect(),
        },
    ]
}

/// IP headers whose length is not possible in their frame.
fn lengths() -> Vec<Row> {
    const ALL: &[&str] = &FIELDS;
    const ALL_BUT_FRAGMENT: &[&str] = &[TOS, TTL, PROTOCOL, ADDRESSES, PORTS, FLAGS, TYPE];
    let claim = |at: usize, length: usize| {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        move |ip: &mut [u8]| ip[at..at + 2].copy_from_slice(&length.to_be_bytes())
    };
    let v4 = [TCP, UDP, SCTP, ICMP].into_iter().flat_map(|header| {
        let length = header.bytes.len();
        [0, 19, 20 + length + 1, 65535].map(|total| ipv4(header, 0, length, claim(2, total)))
    });
    let fragments = [0, 19, 29, 65535].map(|total| {
        let packet = ipv4(UDP, 0, 8, |ip| {
            claim(2, total)(ip);
            ip[6] = MORE_FRAGMENTS;
        });
        Packet { fragment: true, ..packet }
    });
    let v6 = [TCP, UDP, SCTP, ICMPV6].into_iter().flat_map(|header| {
        let length = header.bytes.len();
        [length + 1, 65535].map(|payload| ipv6(header, 0, length, claim(4, payload)))
    });
    vec![
        Row {
            packets: "IPv4 whose total length is less than its header or more than the frame",
            key_lacks: ALL,
            tc_reads: ALL,
            tc_lacks: &[],
            examples: v4.chain(fragments).collect(),
        },
        Row {
            packets: "IPv6 whose payload length is more than the frame",
            key_lacks: ALL_BUT_FRAGMENT,
            tc_reads: ALL_BUT_FRAGMENT,
            tc_lacks: &[],
            examples: v6.collect(),
        },
    ]
}

/// IPv6 whose extension headers the host and tc walk to different ends.
fn extensions() -> Vec<Row> {
    let behind_options = [&options(ROUTING)[..], &[UDP.protocol]].concat();
    let ahead = [UDP.protocol, 200, 1, 4, 0, 0, 0, 0];
    let reached = |header: Header| {
        let body = [&options(header.protocol), header.bytes].concat();
        (0..8).map(move |length| extended(DESTINATION, header, &body, length))
    };
    let cut = |first: u8, bytes: &[u8], lengths: std::ops::Range<usize>| {
        let body = |n| extended(first, UDP, bytes.get(..n).unwrap_or(bytes), n);
        lengths.map(body).collect::<Vec<_>>()
    };
    let fragment = [UDP.protocol, 0, 0, 0, 0, 0, 0, 7];
    let fragment_in_padding = [&fragment, UDP.bytes].concat();
    let authentication = [UDP.protocol, 1, 0, 0, 0, 0, 0, 7];
    let unreached = [
        cut(HOP_BY_HOP, &options(UDP.protocol), 0..2),
        cut(ROUTING, &options(UDP.protocol), 0..2),
        cut(DESTINATION, &options(UDP.protocol), 0..2),
        cut(DESTINATION, &behind_options, 8..10),
        cut(FRAGMENTS, &fragment, 0..8),
        cut(AUTHENTICATION, &authentication, 0..9),
        vec![extended(FRAGMENTS, UDP, &fragment_in_padding, 7)],
    ];
    let cut_behind_type = [
        cut(HOP_BY_HOP, &options(UDP.protocol), 2..8),
        cut(ROUTING, &options(UDP.protocol), 2..8),
        cut(DESTINATION, &options(UDP.protocol), 2..8),
        cut(DESTINATION, &ahead, 8..9),
    ];
    vec![
        Row {
            packets: "IPv6 with an extension header that is cut below 2 bytes, a fragment or \
                      authentication header that is cut at all",
            key_lacks: &[TOS, TTL, PROTOCOL, PORTS],
            tc_reads: &[TOS, TTL],
            tc_lacks: &[],
            examples: unreached.concat(),
        },
        Row {
            packets: "IPv6 with options or a routing header that is cut behind its first 2 bytes",
            key_lacks: &[TOS, TTL, PROTOCOL, PORTS],
            tc_reads: &[TOS, TTL, PROTOCOL],
            tc_lacks: &[],
            examples: cut_behind_type.concat(),
        },
        Row {
            packets: "IPv6 with options or a routing header beyond the payload length, in the \
                      frame's padding",
            key_lacks: &[TOS, TTL, PROTOCOL, PORTS, FLAGS, TYPE],
            tc_reads: &[TOS, TTL, PROTOCOL, PORTS, FLAGS, TYPE],
            tc_lacks: &[],
            examples: [TCP, UDP, SCTP, ICMPV6].into_iter().flat_map(reached).collect(),
        },
    ]
}

/// IPv6 with more extension headers than tc walks.
fn many_extensions() -> Vec<Row> {
    let count = |count: usize| {
        [TCP, UDP, SCTP, ICMPV6].map(|header| {
            let mut body = options(DESTINATION).repeat(count - 1);
            body.extend(options(header.protocol));
            body.extend(header.bytes);
            extended(DESTINATION, header, &body, body.len())
        })
    };
    vec![
        Row {
            packets: "IPv6 with 16 extension headers",
            key_lacks: &[],
            tc_reads: &[],
            tc_lacks: &[FLAGS, TYPE],
            examples: count(16).into(),
        },
        Row {
            packets: "IPv6 with more than 16 extension headers",
            key_lacks: &[],
            tc_reads: &[],
            tc_lacks: &[PROTOCOL, PORTS, FLAGS, TYPE],
            examples: count(17).into(),
        },
    ]
}

/// An options header of 8 bytes in front of the header `next`.
fn options(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENTS: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// In the first byte of an IPv4 header's fragment word.
const MORE_FRAGMENTS: u8 = 0x20;

/// A transport header, and how a megaflow asks for it.
#[derive(Clone, Copy)]
struct Header {
    protocol: u8,
    /// The match on ports, or on type and code.
    first: (&'static str, &'static str),
    bytes: &'static [u8],
}

const TCP: Header = Header {
    protocol: 6,
    first: (PORTS, "tcp(src=1000,dst=2000)"),
    bytes: &[3, 232, 7, 208, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x12, 4, 0, 1, 2, 1, 2],
};
const TCP_OFFSET: usize = 12;
const TCP_FLAGS: &str = "tcp_flags(0x012)";
const UDP: Header = Header {
    protocol: 17,
    first: (PORTS, "udp(src=1000,dst=2000)"),
    bytes: &[3, 232, 7, 208, 0, 8, 1, 2],
};
const SCTP: Header = Header {
    protocol: 132,
    first: (PORTS, "sctp(src=1000,dst=2000)"),
    bytes: &[3, 232, 7, 208, 0, 0, 0, 1, 1, 2, 3, 4],
};
const ICMP: Header =
    Header { protocol: 1, first: (TYPE, "icmp(type=3,code=1)"), bytes: &[3, 1, 1, 2, 0, 0, 0, 0] };
const ICMPV6: Header = Header {
    protocol: 58,
    first: (TYPE, "icmpv6(type=1,code=4)"),
    bytes: &[1, 4, 1, 2, 0, 0, 0, 0],
};

/// One packet, from port 1.
#[derive(Clone)]
struct Packet {
    v6: bool,
    /// The header that it carries, or would if it were whole.
    header: Header,
    /// True if it is a first fragment.
    fragment: bool,
    frame: Vec<u8>,
}

impl Packet {
    /// The match on one field with the value that the packet carries; `None` if it has no such
    /// field.
    fn ask(&self, field: &str) -> Option<String> {
        let Header { protocol, first, .. } = self.header;
        let ip = |fields: &str| match self.v6 {
            false => format!("eth_type(0x0800),ipv4({fields})"),
            true => format!("eth_type(0x86dd),ipv6({fields})"),
        };
        let transport = ip(&format!("proto={protocol},frag=no"));
        Some(match field {
            TOS if self.v6 => ip("tclass=0x2e"),
            TOS => ip("tos=0x2e"),
            TTL if self.v6 => ip("hlimit=61"),
            TTL => ip("ttl=61"),
            ADDRESSES if self.v6 => ip("src=fd00::1,dst=fd00::2"),
            ADDRESSES => ip("src=10.0.0.1,dst=10.0.0.2"),
            FRAGMENT if self.fragment => ip("frag=first"),
            // The protocol of an IPv6 packet is tc's only beside `frag=no`.
            PROTOCOL if self.v6 => transport,
            PROTOCOL => ip(&format!("proto={protocol}")),
            // Ports of fragments stay on the host.
            _ if self.fragment => return None,
            FLAGS if protocol == TCP.protocol => format!("{transport},{TCP_FLAGS}"),
            _ if field == first.0 => format!("{transport},{}", first.1),
            _ => return None,
        })
    }
}

/// The first bytes of a transport header in both families: as many as the IP header's length says,
/// and as many as the frame has.
fn cut(header: Header, lengths: impl IntoIterator<Item = (usize, usize)>) -> Vec<Packet> {
    let both = |(claimed, held)| {
        [ipv4(header, claimed, held, |_| {}), ipv6(header, claimed, held, |_| {})]
    };
    lengths.into_iter().flat_map(both).collect()
}

/// A TCP packet of 20 bytes with this data offset in words, in both families.
fn tcp_offset(words: u8, held: usize) -> Vec<Packet> {
    let change = |packet: Packet| {
        let mut frame = packet.frame;
        let transport = 14 + if packet.v6 { 40 } else { 20 };
        frame[transport + TCP_OFFSET] = words << 4;
        Packet { frame, ..packet }
    };
    [ipv4(TCP, 20, held, |_| {}), ipv6(TCP, 20, held, |_| {})].map(change).into()
}

const TO_AND_FROM: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// The header's bytes and padding behind them, `held` in all.
fn held(header: Header, held: usize) -> Vec<u8> {
    header.bytes.iter().copied().chain(std::iter::repeat(0x5a)).take(held).collect()
}

fn ipv4(header: Header, claimed: usize, held: usize, change: impl FnOnce(&mut [u8])) -> Packet {
    let mut ip = vec![0x45, 0x2e, 0, 0, 0, 1, 0, 0, 61, header.protocol, 0, 0];
    ip[2..4].copy_from_slice(&u16::try_from(20 + claimed).unwrap_or(u16::MAX).to_be_bytes());
    ip.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    change(&mut ip);
    let frame = [&TO_AND_FROM[..], &[0x08, 0], &ip, &self::held(header, held)].concat();
    Packet { v6: false, header, fragment: false, frame }
}

fn ipv6(header: Header, claimed: usize, held: usize, change: impl FnOnce(&mut [u8])) -> Packet {
    let mut packet = extended(header.protocol, header, &self::held(header, held), claimed);
    change(&mut packet.frame[14..]);
    packet
}

/// IPv6 whose payload begins with a header of the kind `first`; the transport header behind it is
/// in `body`.
fn extended(first: u8, header: Header, body: &[u8], claimed: usize) -> Packet {
    let [high, low] = u16::try_from(claimed).unwrap_or(u16::MAX).to_be_bytes();
    let address = |last| [&[0xfd][..], &[0; 14], &[last]].concat();
    let ip = [&[0x62, 0xe0, 0, 0, high, low, first, 61][..], &address(1), &address(2)].concat();
    let frame = [&TO_AND_FROM[..], &[0x86, 0xdd], &ip, body].concat();
    Packet { v6: true, header, fragment: false, frame }
}

pub(super) fn run(checks: &mut Checks) {
    for row in rows() {
        checks.check(row.packets, || shows(&row));
    }
}

/// Asks host and card for each field of each packet.
fn shows(row: &Row) -> Outcome {
    let mut tc = open()?;
    tc.remove_all().context("removing what a failed check left")?;
    let socket = RawSocket::open("swvf0")?;
    for field in FIELDS {
        let mut asked: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for packet in &row.examples {
            if let Some(keys) = packet.ask(field) {
                asked.entry(keys).or_default().push(packet.frame.clone());
            }
        }
        for (keys, frames) in asked {
            let flow = flow(&keys, "2")?;
            apply_one(&mut tc, install(&flow, 7)).context(&keys)?;
            for frames in frames.chunks(AT_ONCE) {
                let got = send(&socket, frames)?;
                equal("frames handed out", &got.len(), &frames.len())?;
                for (frame, (dev, _)) in frames.iter().zip(&got) {
                    let verdicts = (flow.matching.hits(&key(frame)), dev == "swvf1");
                    let what = format!("(host hits, card hits) of {keys} in {frame:02x?}");
                    equal(&what, &verdicts, &row.verdicts(field))?;
                }
            }
            apply_one(&mut tc, Op::Remove { ufid: flow.ufid }).context(&keys)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decisions_table_is_this_one() {
        let page = include_str!("../../../../docs/decisions/0013-what-tc-reads-in-cut-headers.md");
        let written: Vec<&str> =
            page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let list = |fields: &[&str]| match fields {
            [] => "–".to_owned(),
            fields => fields.join(", "),
        };
        let differ = |row: &Row| !row.tc_reads.is_empty() || !row.tc_lacks.is_empty();
        let line = |row: Row| {
            let (key, tc) = (list(row.key_lacks), list(row.tc_reads));
            format!("| {} | {key} | {tc} | {} |", row.packets, list(row.tc_lacks))
        };
        let shown: Vec<String> = rows().into_iter().filter(differ).map(line).collect();
        assert_eq!(written, shown, "want this table:\n{}", shown.join("\n"));
    }

    #[test]
    fn every_field_of_a_row_is_asked_for() {
        for row in rows() {
            for field in [row.key_lacks, row.tc_reads, row.tc_lacks].concat() {
                let asked = row.examples.iter().any(|packet| packet.ask(field).is_some());
                assert!(asked, "{}: nothing asks for {field}", row.packets);
            }
        }
    }

    #[test]
    fn the_hosts_verdicts_are_the_tables() {
        for row in rows() {
            for (packet, field) in row.examples.iter().flat_map(|p| FIELDS.map(|f| (p, f))) {
                let Some(keys) = packet.ask(field) else { continue };
                let hits = flow(&keys, "2").unwrap().matching.hits(&key(&packet.frame));
                assert_eq!(hits, row.verdicts(field).0, "{keys} in {:02x?}", packet.frame);
            }
        }
    }
}
