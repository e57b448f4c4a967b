use std::collections::BTreeMap;

use flow::{Generation, Megaflow, PortId, odp};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterFlowerOption, TcOption};
use proptest::prelude::*;

use super::*;
use crate::decode::Filter;
use crate::fake::Stored;
use crate::netlink::{Messages, NlAttrs, TcMsg};
use crate::translate::tests::{any_megaflow, target};
use crate::translate::translate;

const AT: Location = Location { ifindex: 3, chain: 0, priority: 1, handle: 1 };

fn ports() -> BTreeMap<u32, PortId> {
    target().ports.iter().map(|(port, device)| (device.ifindex, *port)).collect()
}

fn message(rule: &Rule, cookie: Cookie) -> Vec<u8> {
    let mut w = Writer::default();
    let start = w.message(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE, 1);
    install(&mut w, rule, AT.priority, 0, cookie);
    w.end_message(start);
    assert!(!w.is_too_long());
    w.as_bytes().to_vec()
}

fn payload(message: &[u8]) -> &[u8] {
    Messages(message).next().unwrap().unwrap().payload
}

/// Shows a filter as the kernel shows the one that was requested.
fn shown(request: &[u8]) -> Vec<u8> {
    let stored = Stored::parse(&TcMsg::parse(payload(request)).unwrap());
    let mut w = Writer::default();
    stored.show(&mut w, AT);
    w.as_bytes().to_vec()
}

fn megaflow(keys: &str, actions: &str) -> Megaflow {
    let matching = odp::parse_match(&format!("in_port(1),{keys}")).unwrap();
    let actions = match actions {
        "drop" => [].into(),
        actions => odp::parse_actions(actions).unwrap(),
    };
    Megaflow::new(matching, actions)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_back(flow in any_megaflow(), generation: u32) {
        if let Ok(rule) = translate(&flow, &target()) {
            let cookie = Cookie::new(flow.ufid, Generation(generation), rule.implied);
            let shown = shown(&message(&rule, cookie));
            let filter = Filter::parse(&shown).unwrap().unwrap();
            prop_assert_eq!(filter.at, AT);
            let summary = filter.summary().unwrap();
            prop_assert_eq!(summary.cookie, Some(cookie));
            let (back, again) = filter.megaflow(&cookie, &ports(), &target()).unwrap();
            prop_assert_eq!(back.matching, flow.matching);
            // A set whose masks are all zero does not exist; everything else is the same.
            prop_assert_eq!(&back.actions, &flow.actions);
            prop_assert_eq!(again, rule);
        }
    }

    /// An answer with one flipped bit is never taken for the same filter and never causes a
    /// panic.
    #[test]
    fn hostile_answers_are_never_ours(
        flow in any_megaflow(),
        at: usize,
        bit in 0..8u8,
        cut: usize,
    ) {
        if let Ok(rule) = translate(&flow, &target()) {
            let cookie = Cookie::new(flow.ufid, Generation(1), rule.implied);
            let whole = shown(&message(&rule, cookie));
            let mut bent = whole.clone();
            bent[at % whole.len()] ^= 1 << bit;
            for bytes in [&bent[..], &whole[..cut % whole.len()]] {
                if let Ok(Some(filter)) = Filter::parse(bytes) {
                    let _ = filter.summary();
                    if let Some((back, again)) = filter.megaflow(&cookie, &ports(), &target()) {
                        prop_assert_eq!(back.ufid, flow.ufid);
                        // Times, counts and padding are not part of a filter and may change.
                        prop_assert!(again == rule || back.actions != flow.actions);
                    }
                }
            }
        }
    }

    #[test]
    fn garbage_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for message in Messages(&bytes).flatten() {
            let _ = Filter::parse(message.payload);
        }
        if let Ok(Some(filter)) = Filter::parse(&bytes) {
            let _ = filter.summary();
            let cookie = Cookie::new(flow::Ufid(1), Generation(1), 0);
            let _ = filter.megaflow(&cookie, &ports(), &target());
        }
        let _ = crate::links::parse(&bytes);
        for attr in NlAttrs(&bytes).flatten() {
            let _ = attr.nested().count();
        }
    }
}

/// Another project's decoder reads the same bytes.
#[test]
fn netlink_packet_route_reads_what_we_write() {
    let flow = megaflow(
        "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02/ff:ff:ff:00:00:00),eth_type(0x8100),\
         vlan(vid=5,pcp=3),encap(eth_type(0x0800),ipv4(src=10.0.0.0/255.0.0.0,dst=10.0.0.2,\
         proto=6,tos=0x20/0xfc,ttl=64,frag=no),tcp(src=1000,dst=80/0xfff0),tcp_flags(2/0x12))",
        "2",
    );
    let rule = translate(&flow, &target()).unwrap();
    let bytes = message(&rule, Cookie::new(flow.ufid, Generation(7), rule.implied));
    let read = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).unwrap();
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewTrafficFilter(tc)) = read.payload
    else {
        panic!("{read:?}")
    };
    assert_eq!(tc.header.index, 3);
    let options = tc.attributes.iter().find_map(|attr| match attr {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    let options: Vec<&TcFilterFlowerOption> = options
        .unwrap()
        .iter()
        .map(|option| match option {
            TcOption::Flower(option) => option,
            other => panic!("{other:?}"),
        })
        .collect();
    let has = |wanted: TcFilterFlowerOption| {
        assert!(options.contains(&&wanted), "{wanted:?} is not in {options:#?}");
    };
    use TcFilterFlowerOption as O;
    has(O::EthSrc([2, 0, 0, 0, 0, 1]));
    has(O::EthSrcMask([0xff; 6]));
    has(O::EthDst([2, 0, 0, 0, 0, 0]));
    has(O::EthDstMask([0xff, 0xff, 0xff, 0, 0, 0]));
    has(O::VlanId(5));
    has(O::VlanPrio(3));
    has(O::Ipv4Src([10, 0, 0, 0].into()));
    has(O::Ipv4SrcMask([255, 0, 0, 0].into()));
    has(O::Ipv4Dst([10, 0, 0, 2].into()));
    has(O::TcpSrc(1000));
    has(O::TcpSrcMask(0xffff));
    has(O::TcpDst(80));
    has(O::TcpDstMask(0xfff0));
    has(O::IpTtl(64));
    has(O::IpTtlMask(0xff));
    assert!(options.iter().any(|o| matches!(o, O::Actions(list) if list.len() == 1)));
}

/// An attribute that is bytes or a nest of attributes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Tree {
    Leaf(u16, Vec<u8>),
    Nest(u16, Vec<Tree>),
}

/// Returns flower's options, sorted, without the attributes that only we write (cookie, flags of
/// actions, masks of ports that are matched whole).
fn tree(options: &[u8]) -> Vec<Tree> {
    let attrs = |bytes: &[u8]| -> Vec<(u16, Vec<u8>)> {
        NlAttrs(bytes).map(|attr| attr.map(|a| (a.kind, a.payload.to_vec())).unwrap()).collect()
    };
    let mut all: Vec<Tree> = attrs(options)
        .into_iter()
        .map(|(kind, payload)| match kind {
            TCA_FLOWER_ACT => {
                let list = attrs(&payload).into_iter().map(|(order, action)| {
                    let mut parts: Vec<Tree> = attrs(&action)
                        .into_iter()
                        .filter(|(kind, _)| !matches!(*kind, TCA_ACT_COOKIE | TCA_ACT_FLAGS))
                        .map(|(kind, payload)| match kind {
                            TCA_ACT_OPTIONS => {
                                let mut inside: Vec<Tree> = attrs(&payload)
                                    .into_iter()
                                    .map(|(kind, payload)| Tree::Leaf(kind, unflagged(&payload)))
                                    .collect();
                                inside.sort();
                                Tree::Nest(kind, inside)
                            }
                            _ => Tree::Leaf(kind, payload),
                        })
                        .collect();
                    parts.sort();
                    Tree::Nest(order, parts)
                });
                Tree::Nest(kind, list.collect())
            }
            _ => Tree::Leaf(kind, payload),
        })
        .filter(|leaf| !matches!(leaf, Tree::Leaf(35..=40, mask) if *mask == [0xff; 2]))
        .collect();
    all.sort();
    all
}

/// Clears the flag for nests in attributes that are nested deeper (pedit's list of headers).
fn unflagged(payload: &[u8]) -> Vec<u8> {
    let mut payload = payload.to_vec();
    let nested = NlAttrs(&payload).all(|attr| attr.is_ok()) && payload.get(3) == Some(&0x80);
    if nested {
        for attr in payload.chunks_mut(20) {
            attr[3] &= !0x80;
        }
    }
    payload
}

/// `golden/filters.txt` has flows, the `tc` line that `explain` prints for them, and the request
/// that tc 6.1 made of that line (`LD_PRELOAD` of a `sendmsg` that prints; `skip_sw`, devices
/// rep3 and rep2 with those numbers).
#[test]
fn tc_itself_writes_the_same_filter_for_the_line_that_explain_prints() {
    let golden = include_str!("../../golden/filters.txt");
    let mut cases = 0;
    for case in golden.split("\n\n").filter(|case| !case.trim().is_empty()) {
        let line = |name: &str| {
            let line = case.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {case}")).trim()
        };
        let flow = megaflow(line("match:"), line("actions:"));
        let rule = translate(&flow, &target()).unwrap();
        assert_eq!(crate::explain::line(&rule, &target()), line("tc:"));
        let hex = line("bytes:").as_bytes();
        let theirs: Vec<u8> = hex
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let ours = message(&rule, Cookie::new(flow.ufid, Generation(1), rule.implied));
        let (ours, theirs) = (payload(&ours), payload(&theirs));
        let (our, their) = (TcMsg::parse(ours).unwrap(), TcMsg::parse(theirs).unwrap());
        assert_eq!(our.protocol, their.protocol, "{case}");
        assert_eq!((our.ifindex, our.parent), (their.ifindex, their.parent), "{case}");
        let options = |attrs: NlAttrs<'_>| tree(attrs.find(TCA_OPTIONS).unwrap().unwrap().payload);
        assert_eq!(options(our.attrs), options(their.attrs), "{case}");
        cases += 1;
    }
    assert!(cases >= 30, "{cases}");
}
