//! Keys and actions that OVS has and Megaflow does not. They are read and named in an error or a
//! refusal, never ignored.

use super::OdpError;
use super::lexer::Lexer;
use crate::refusal::{OvsList, OvsName};
use crate::{Reason, Refusal, Subject};

/// Something in a text that OVS has and Megaflow does not.
#[derive(Clone, Debug)]
pub(super) struct Unsupported {
    /// Its place in the text.
    place: usize,
    /// What a megaflow with it is refused for.
    reason: Reason,
    name: OvsName,
}

impl Unsupported {
    /// The key of a match with this name; `None` if OVS has no such key or Megaflow has it.
    pub(super) fn key(name: &str, place: usize) -> Option<Unsupported> {
        let name = OvsName::find(OvsList::Keys, name)?;
        Some(Unsupported { place, reason: Reason::MatchField, name })
    }

    /// The key of a `set` with this name, likewise.
    pub(super) fn set(name: &str, place: usize) -> Option<Unsupported> {
        let of = |list| OvsName::find(list, name);
        let name = of(OvsList::Keys).or_else(|| of(OvsList::Headers))?;
        Some(Unsupported { place, reason: Reason::SetField, name })
    }

    /// The action with this name, likewise.
    pub(super) fn action(name: &str, place: usize) -> Option<Unsupported> {
        let name = OvsName::find(OvsList::Actions, name)?;
        Some(Unsupported { place, reason: Reason::Action, name })
    }

    /// The argument of `userspace(…)` with this name, likewise. OVS's own userspace uses these.
    pub(super) fn part_of_userspace(name: &str, place: usize) -> Option<Unsupported> {
        let name = OvsName::find(OvsList::Userspace, name)?;
        Some(Unsupported { place, reason: Reason::Action, name })
    }

    /// The error if the flow is to be installed.
    pub(super) fn error(&self, lexer: &Lexer<'_>) -> OdpError {
        let Unsupported { place, reason, name } = self;
        let what = match reason {
            Reason::Action => format!("action {name}"),
            Reason::SetField => format!("set({name}(…))"),
            _ => name.to_string(),
        };
        let (_, why) = name.entry();
        lexer.error_at(*place, format!("{what} is not supported: {why}"))
    }

    /// The refusal if the text is read for a plan.
    pub(super) fn into_refusal(self) -> Refusal {
        let (_, why) = self.name.entry();
        Refusal::new(self.reason, Subject::Ovs(self.name)).detail(why)
    }
}

/// Skips the inside of the key with its closing parenthesis. Returns `None` if the key says
/// nothing: all its masks are zero or, where `zero_value` allows it, its value is.
pub(super) fn read_key(
    lexer: &mut Lexer<'_>,
    key: Unsupported,
    zero_value: bool,
) -> Result<Option<Unsupported>, OdpError> {
    let (name, _) = key.name.entry();
    let text = take_closed(lexer, name)?;
    let ethernet = name == "packet_type" && matches!(text, "ns=0,id=0" | "ns=0,id=0x0");
    let says_nothing = || {
        !text.contains(['(', '{'])
            && text.split(',').all(|part| match part.split_once('/') {
                Some((_, mask)) => is_zero(mask),
                None => {
                    zero_value && is_zero(part.split_once('=').map_or(part, |(_, value)| value))
                        || part.is_empty() && name != "tunnel"
                }
            })
    };
    Ok(if ethernet || says_nothing() { None } else { Some(key) })
}

/// Returns true if the text is zero in any of the forms that masks have.
fn is_zero(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    !digits.is_empty() && digits.chars().all(|c| matches!(c, '0' | ':' | '.'))
}

/// Reads everything inside the open parenthesis behind `name`, and the closing parenthesis; returns
/// the inside.
pub(super) fn take_closed<'a>(lexer: &mut Lexer<'a>, name: &str) -> Result<&'a str, OdpError> {
    let start = lexer.place();
    let mut depth = 0_usize;
    let text = lexer.take(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 0 => return false,
            b')' => depth -= 1,
            _ => {}
        }
        true
    });
    if lexer.eat(")") {
        Ok(text)
    } else {
        Err(lexer.error_at(start, format!("{name}( is not closed")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse_actions, parse_flow, parse_match, plan_actions_with, plan_flow_with};
    use super::OvsList;
    use crate::odp::{format_actions, format_match};

    /// Each of the actions as OVS writes it, and what is wrong with it in OVS.
    const FORMS: &[(&str, &[&str], &[&str])] = &[
        ("ct", &["ct", "ct()", "ct(commit,zone=5,nat(src=10.0.0.1))"], &["ct(", "ct(commit"]),
        ("ct_clear", &["ct_clear"], &["ct_clear(1)"]),
        ("meter", &["meter(5)"], &["meter", "meter(x)", "meter(5", "meter()"]),
        ("clone", &["clone(1,2)", "clone()", "clone(clone(drop))"], &["clone", "clone(foo)"]),
        (
            "check_pkt_len",
            &["check_pkt_len(size=200,gt(1),le(drop))"],
            &["check_pkt_len(size=200,gt(1))", "check_pkt_len(size=x,gt(1),le(2))"],
        ),
        ("dec_ttl", &["dec_ttl(le_1(1))"], &["dec_ttl", "dec_ttl(1)"]),
        (
            "tnl_push",
            &["tnl_push(tnl_port(6),header(size=50,type=4,eth(dl_type=0x0800)),out_port(1))"],
            &["tnl_push(tnl_port(6)"],
        ),
        ("tnl_pop", &["tnl_pop(4)"], &["tnl_pop(vxlan)", "tnl_pop"]),
        ("push_eth", &["push_eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)"], &["push_eth"]),
        ("pop_eth", &["pop_eth"], &["pop_eth(1)"]),
        ("push_nsh", &["push_nsh(flags=0,ttl=63,mdtype=2,np=1,spi=0x1,si=255)"], &["push_nsh"]),
        ("pop_nsh", &["pop_nsh()"], &["pop_nsh"]),
        ("add_mpls", &["add_mpls(label=1,tc=0,ttl=64,bos=1,eth_type=0x8847)"], &["add_mpls"]),
        ("psample", &["psample(group=1,cookie=0102)"], &["psample"]),
        ("lb_output", &["lb_output(5)"], &["lb_output(bond)"]),
    ];

    #[test]
    fn each_action_of_ovs_is_named_wherever_it_stands() {
        let named: Vec<_> = FORMS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(
            named,
            OvsList::Actions.names().iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
        for (name, right, wrong) in FORMS {
            for form in *right {
                for text in [form.to_string(), format!("sample(sample=50.0%,actions(1,{form})),2")]
                {
                    let (_, why) = plan_actions_with(&text, &|_| None).expect(&text);
                    let why = why.first().expect(&text).to_string();
                    assert!(why.starts_with(&format!("action {name}: ")), "{text}: {why}");
                    // No such thing is installed.
                    let error = parse_actions(&text).expect_err(&text);
                    let words = format!("action {name} is not supported: ");
                    assert!(error.message.starts_with(&words), "{text}: {error}");
                    assert_eq!(error.column, text.rfind(form).unwrap() + 1, "{text}: {error}");
                }
            }
            for text in *wrong {
                let error = plan_actions_with(text, &|_| None).expect_err(text);
                assert!(!error.message.contains("not supported"), "{text}: {error}");
            }
        }
    }

    #[test]
    fn each_key_of_ovs_is_named_in_a_match_and_in_a_set() {
        for (name, why) in OvsList::Keys.names() {
            let text = format!("in_port(1),{name}(x=0x1/0x3,flags(+a-b)),eth_type(0x0800)");
            let plan = plan_flow_with(&text, &|_| None).expect(&text);
            let said: Vec<_> = plan.unsupported.iter().map(ToString::to_string).collect();
            assert_eq!(said, [format!("match-field {name}: {why}")]);
            let rest = "recirc_id(0),in_port(1),eth(),eth_type(0x0800)";
            assert_eq!(format_match(&plan.matching), rest);
            let error = parse_match(&text).expect_err(&text);
            assert_eq!(error.column, 12, "{error}");
            let text = format!("1,set({name}(x=0x1/0x3,flags(+a-b))),2");
            let (rest, why) = plan_actions_with(&text, &|_| None).expect(&text);
            assert!(why[0].to_string().starts_with(&format!("set-field {name}: ")), "{why:?}");
            assert_eq!(format_actions(&rest), "1,2");
            let error = parse_actions(&text).expect_err(&text);
            assert!(error.message.starts_with(&format!("set({name}(…)) is not")), "{error}");
        }
        assert!(parse_actions("set(encap())").expect_err("encap").message.contains("not headers"));
        for (part, _) in OvsList::Userspace.names() {
            let inside = match *part {
                "actions" => "actions".to_owned(),
                "tunnel_out_port" => "tunnel_out_port=5".to_owned(),
                part => format!("{part}(a=1,b(2))"),
            };
            let text = format!("userspace(pid=1,{inside}),2");
            let (rest, why) = plan_actions_with(&text, &|_| None).expect(&text);
            assert_eq!(why[0].subject.to_string(), format!("userspace({part})"));
            assert_eq!(format_actions(&rest), "userspace(pid=1),2");
        }
    }

    #[test]
    fn all_of_them_are_reasons_and_an_error_behind_them_is_one() {
        let keys = "in_port(1),ct_state(+trk),tunnel(tun_id=0x1),nd(target=::1),skb_mark(0/0)";
        let actions = "ct(commit),set(tunnel(ttl=1)),clone(meter(3),2),recirc(0x1)";
        let text = format!("{keys}, packets:0, actions:{actions}");
        let plan = plan_flow_with(&text, &|_| None).unwrap();
        let subjects: Vec<_> = plan.unsupported.iter().map(|why| why.subject.to_string()).collect();
        assert_eq!(subjects, ["ct_state", "tunnel", "nd", "ct", "tunnel", "clone", "meter"]);
        assert_eq!(format_actions(&plan.actions.unwrap()), "recirc(0x1)");
        assert!(parse_flow(&text).unwrap_err().message.starts_with("ct_state is not supported"));
        let error = plan_flow_with(&format!("{text},foo"), &|_| None).unwrap_err();
        assert!(error.message.contains("there is no action or port 'foo'"), "{error}");
        for (text, message) in [
            ("ct(commit),drop", "drop stands alone"),
            ("drop,ct", "drop stands alone"),
            ("userspace(pid=1,foo)", "userspace(…) has no part 'foo)'"),
        ] {
            let error = plan_actions_with(text, &|_| None).unwrap_err();
            assert!(error.message.contains(message), "{text}: {error}");
        }
        let deep = "clone(".repeat(100_000);
        let error = plan_actions_with(&deep, &|_| None).unwrap_err();
        assert!(error.message.contains("clone(…) is nested more than 32 deep"), "{error}");
    }
}
