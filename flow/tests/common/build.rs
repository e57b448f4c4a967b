//! Frames from keys, made by `etherparse` with checksums from scratch: what an edit is compared
//! with. Nothing of `flow::packet` is used here.

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Icmpv4Header, Icmpv4Type, Icmpv6Header,
    Icmpv6Type, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    TcpHeader, UdpHeader,
};
use flow::{Key, MacAddr};

use super::Rng;

/// What a frame has and its key does not show.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    pub(crate) payload: Vec<u8>,
    /// Behind the IP packet.
    pub(crate) padding: Vec<u8>,
    /// Whole words.
    pub(crate) ipv4_options: Vec<u8>,
    /// Hop-by-hop options with so many units of 8 bytes, 0 for none.
    pub(crate) hop_by_hop: u8,
    pub(crate) udp_checksum: bool,
    pub(crate) sequence: u32,
}

pub(crate) fn rest(rng: &mut Rng) -> Rest {
    let length = rng.pick(&[0, 1, 7, 8, 64, 201]);
    let zeros = rng.one_in(4);
    let words = rng.pick(&[0, 0, 1, 3, 10]);
    let padding = rng.pick(&[0, 0, 6, 13]);
    Rest {
        payload: if zeros { vec![0; length] } else { rng.fill(length) },
        padding: rng.fill(padding),
        ipv4_options: rng.fill(words * 4),
        hop_by_hop: rng.pick(&[0, 0, 1, 2]),
        udp_checksum: !rng.one_in(5),
        sequence: if zeros { 0 } else { rng.word() as u32 },
    }
}

/// A key that a frame can have: up to two tags, IPv4, IPv6 or ARP.
pub(crate) fn key(rng: &mut Rng) -> Key {
    let mut key = Key { eth_dst: mac(rng), eth_src: mac(rng), ..Key::default() };
    let tags = rng.below(3);
    if tags > 0 {
        (key.vlan_tpid, key.vlan_tci) = tag(rng);
    }
    if tags > 1 {
        (key.cvlan_tpid, key.cvlan_tci) = tag(rng);
    }
    key.eth_type = rng.pick(&[0x800, 0x800, 0x86dd, 0x86dd, 0x806]);
    if key.eth_type == 0x806 {
        key.arp_op = u16::from(rng.byte());
        (key.arp_sip, key.arp_tip) = (rng.word() as u32, rng.word() as u32);
        (key.arp_sha, key.arp_tha) = (mac(rng), mac(rng));
        return key;
    }
    (key.ip_tos, key.ip_ttl) = (rng.byte(), rng.byte());
    if key.eth_type == 0x800 {
        (key.ipv4_src, key.ipv4_dst) = (rng.word() as u32, rng.word() as u32);
        key.ip_proto = rng.pick(&[6, 17, 132, 1, 47]);
    } else {
        (key.ipv6_src, key.ipv6_dst) = (rng.wide(), rng.wide());
        key.ipv6_label = rng.word() as u32 & 0xf_ffff;
        key.ip_proto = rng.pick(&[6, 17, 132, 58, 59]);
    }
    match key.ip_proto {
        1 | 58 => {
            let (kind, code) = (rng.byte(), rng.byte());
            key.tp_src = rng.pick(&[0, 8, 128, kind]).into();
            key.tp_dst = rng.pick(&[0, code]).into();
        }
        6 | 17 | 132 => {
            (key.tp_src, key.tp_dst) = (rng.word() as u16, rng.word() as u16);
        }
        _ => {}
    }
    if key.ip_proto == 6 {
        key.tcp_flags = rng.word() as u16 & 0x1ff;
    }
    key
}

fn mac(rng: &mut Rng) -> MacAddr {
    MacAddr(std::array::from_fn(|_| rng.byte()))
}

fn tag(rng: &mut Rng) -> (u16, u16) {
    (rng.pick(&[0x8100, 0x88a8]), rng.word() as u16 | flow::VLAN_PRESENT)
}

/// The frame that has this key.
pub(crate) fn frame(key: &Key, rest: &Rest) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(key.eth_dst.0);
    out.extend(key.eth_src.0);
    for (tpid, tci) in [(key.vlan_tpid, key.vlan_tci), (key.cvlan_tpid, key.cvlan_tci)] {
        if tpid != 0 {
            out.extend(tpid.to_be_bytes());
            out.extend((tci & !flow::VLAN_PRESENT).to_be_bytes());
        }
    }
    out.extend(key.eth_type.to_be_bytes());
    match key.eth_type {
        0x800 => out.extend(ipv4(key, rest, &transport(key, rest))),
        0x86dd => out.extend(ipv6(key, rest)),
        0x806 => out.extend(arp(key)),
        other => panic!("no frame for EtherType {other:#x}"),
    }
    out.extend(&rest.padding);
    out
}

/// An IPv4 header by `ip_*` and `ipv4_*` of the key, `ip_frag` left alone, and its payload.
pub(crate) fn ipv4(key: &Key, rest: &Rest, payload: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header {
        dscp: IpDscp::try_new(key.ip_tos >> 2).expect("six bits"),
        ecn: IpEcn::try_new(key.ip_tos & 3).expect("two bits"),
        identification: rest.sequence as u16,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: IpFragOffset::ZERO,
        time_to_live: key.ip_ttl,
        protocol: IpNumber(key.ip_proto),
        source: key.ipv4_src.to_be_bytes(),
        destination: key.ipv4_dst.to_be_bytes(),
        ..Ipv4Header::default()
    };
    header.options = rest.ipv4_options[..].try_into().expect("whole words");
    header.set_payload_len(payload.len()).expect("a small payload");
    header.header_checksum = header.calc_header_checksum();
    let mut out = header.to_bytes().to_vec();
    out.extend(payload);
    out
}

fn ipv6(key: &Key, rest: &Rest) -> Vec<u8> {
    let mut body = Vec::new();
    let mut next = key.ip_proto;
    if rest.hop_by_hop > 0 {
        let units = rest.hop_by_hop;
        body.extend([next, units - 1]);
        body.resize(usize::from(units) * 8, 0);
        next = 0;
    }
    body.extend(transport(key, rest));
    let header = Ipv6Header {
        traffic_class: key.ip_tos,
        flow_label: Ipv6FlowLabel::try_new(key.ipv6_label).expect("twenty bits"),
        payload_length: body.len() as u16,
        next_header: IpNumber(next),
        hop_limit: key.ip_ttl,
        source: key.ipv6_src.to_be_bytes(),
        destination: key.ipv6_dst.to_be_bytes(),
    };
    let mut out = header.to_bytes().to_vec();
    out.extend(body);
    out
}

fn arp(key: &Key) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation(key.arp_op),
        &key.arp_sha.0,
        &key.arp_sip.to_be_bytes(),
        &key.arp_tha.0,
        &key.arp_tip.to_be_bytes(),
    );
    packet.expect("lengths 6 and 4").to_bytes().to_vec()
}

/// The transport header with its checksum, and the payload.
pub(crate) fn transport(key: &Key, rest: &Rest) -> Vec<u8> {
    let payload = &rest.payload;
    let mut out = match key.ip_proto {
        6 => tcp(key, rest),
        17 => udp(key, rest),
        132 => return sctp(key, rest),
        1 => {
            let kind = Icmpv4Type::Unknown {
                type_u8: key.tp_src as u8,
                code_u8: key.tp_dst as u8,
                bytes5to8: rest.sequence.to_be_bytes(),
            };
            Icmpv4Header::with_checksum(kind, payload).to_bytes().to_vec()
        }
        58 => {
            let kind = Icmpv6Type::Unknown {
                type_u8: key.tp_src as u8,
                code_u8: key.tp_dst as u8,
                bytes5to8: rest.sequence.to_be_bytes(),
            };
            let (src, dst) = (key.ipv6_src.to_be_bytes(), key.ipv6_dst.to_be_bytes());
            let header = Icmpv6Header::with_checksum(kind, src, dst, payload);
            header.expect("a small payload").to_bytes().to_vec()
        }
        _ => Vec::new(),
    };
    out.extend(payload);
    out
}

fn tcp(key: &Key, rest: &Rest) -> Vec<u8> {
    let mut header = TcpHeader::new(key.tp_src, key.tp_dst, rest.sequence, 512);
    let flag = |bit: u32| key.tcp_flags >> bit & 1 == 1;
    (header.fin, header.syn, header.rst, header.psh) = (flag(0), flag(1), flag(2), flag(3));
    (header.ack, header.urg, header.ece, header.cwr) = (flag(4), flag(5), flag(6), flag(7));
    header.ns = flag(8);
    let checksum = if key.eth_type == 0x800 {
        let (src, dst) = (key.ipv4_src.to_be_bytes(), key.ipv4_dst.to_be_bytes());
        header.calc_checksum_ipv4_raw(src, dst, &rest.payload)
    } else {
        let (src, dst) = (key.ipv6_src.to_be_bytes(), key.ipv6_dst.to_be_bytes());
        header.calc_checksum_ipv6_raw(src, dst, &rest.payload)
    };
    header.checksum = checksum.expect("a small payload");
    header.to_bytes().to_vec()
}

fn udp(key: &Key, rest: &Rest) -> Vec<u8> {
    let mut header = UdpHeader {
        source_port: key.tp_src,
        destination_port: key.tp_dst,
        length: 8 + rest.payload.len() as u16,
        checksum: 0,
    };
    if rest.udp_checksum {
        let checksum = if key.eth_type == 0x800 {
            let (src, dst) = (key.ipv4_src.to_be_bytes(), key.ipv4_dst.to_be_bytes());
            header.calc_checksum_ipv4_raw(src, dst, &rest.payload)
        } else {
            let (src, dst) = (key.ipv6_src.to_be_bytes(), key.ipv6_dst.to_be_bytes());
            header.calc_checksum_ipv6_raw(src, dst, &rest.payload)
        };
        header.checksum = checksum.expect("a small payload");
    }
    header.to_bytes().to_vec()
}

/// `etherparse` has no SCTP: the common header by hand, its CRC bit by bit.
fn sctp(key: &Key, rest: &Rest) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(key.tp_src.to_be_bytes());
    out.extend(key.tp_dst.to_be_bytes());
    out.extend(rest.sequence.to_be_bytes());
    out.extend([0; 4]);
    out.extend(&rest.payload);
    let crc = super::checks::sctp_crc(&out);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out
}
