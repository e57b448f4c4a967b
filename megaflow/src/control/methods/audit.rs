//! `offload/audit`: compares the megaflows that are believed to be in each place with the ones
//! that are there, and finds megaflows that overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, PoisonError};

use flow::{Dumped, Megaflow, Placement, Ufid, odp, overlap};

use super::Context;
use super::ask::status;
use ::offload::FlowView;

/// Returns every overlap and every difference, a line each. A place without any has a line that
/// says so. A difference that the first look finds and the second does not was only under way,
/// and is not reported.
pub(super) fn audit(context: &Context, _: &[&str]) -> Result<String, String> {
    // An audit holds all megaflows more than once. A second client waits for the first one's end.
    let _alone = context.audit.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut places, first) = look(context)?;
    let mut findings = first;
    if !findings.is_empty() {
        let (_, again) = look(context)?;
        findings.retain(|finding| again.contains(finding));
    }
    places.insert("overlaps".to_owned(), String::new());
    let mut text = String::new();
    for (place, holds) in &places {
        let here: Vec<&String> =
            findings.iter().filter(|(at, _)| at == place).map(|(_, what)| what).collect();
        let _ = match here.len() {
            0 if holds.is_empty() => writeln!(text, "{place}: none"),
            0 => writeln!(text, "{place}: {holds}, as believed"),
            count if holds.is_empty() => writeln!(text, "{place}: {count}"),
            count => writeln!(text, "{place}: {holds}, {count} not as believed"),
        };
        here.iter().for_each(|what| text.push_str(&format!("  {what}\n")));
    }
    Ok(text)
}

/// What each place holds, in words; and the findings, each with its place.
type Look = (BTreeMap<String, String>, BTreeSet<(String, String)>);

fn look(context: &Context) -> Result<Look, String> {
    let believed = context.handle.flows().map_err(|error| error.to_string())?;
    let (mut places, mut findings) = (BTreeMap::new(), BTreeSet::new());
    for (name, provider) in status(context)?.metrics.providers {
        if !provider.up {
            places.insert(name, "down".to_owned());
            continue;
        }
        let found = context.handle.dump(&name).map_err(|error| error.to_string())?;
        let differences = differences(&name, &believed, &found);
        findings.extend(differences.into_iter().map(|what| (name.clone(), what)));
        places.insert(name, format!("{} megaflows", found.len()));
    }
    let flows: Vec<Arc<Megaflow>> = believed.iter().map(|view| view.flow.clone()).collect();
    findings.extend(overlaps(&flows).into_iter().map(|what| ("overlaps".to_owned(), what)));
    Ok((places, findings))
}

fn overlaps(flows: &[Arc<Megaflow>]) -> Vec<String> {
    let by_ufid: BTreeMap<Ufid, &Arc<Megaflow>> = flows.iter().map(|f| (f.ufid, f)).collect();
    let pairs = flow::classifier::overlaps(flows);
    let pairs = pairs.iter().filter_map(|(a, b)| Some((by_ufid.get(a)?, by_ufid.get(b)?)));
    pairs.map(|(a, b)| format!("{} {}", a.ufid, overlap::explain(&a.matching, b))).collect()
}

/// Returns the differences in one place, in words.
fn differences(place: &str, believed: &[FlowView], found: &[Dumped]) -> Vec<String> {
    let here = |view: &&FlowView| {
        let in_nic = view.placement == Placement::Nic && view.provider.as_deref() == Some(place);
        place == "host" || in_nic
    };
    let mut believed: BTreeMap<Ufid, &FlowView> =
        believed.iter().filter(here).map(|view| (view.flow.ufid, view)).collect();
    let mut out = Vec::new();
    for dumped in found {
        let ufid = dumped.ufid;
        match believed.remove(&ufid) {
            None => out.push(format!("{ufid} is there and belongs to no megaflow")),
            Some(view) => out.extend(difference(place, view, dumped)),
        }
    }
    let missing = believed.values().map(|view| {
        format!("{} {} is missing", view.flow.ufid, odp::format_match(&view.flow.matching))
    });
    out.extend(missing);
    out
}

fn difference(place: &str, view: &FlowView, dumped: &Dumped) -> Option<String> {
    let ufid = dumped.ufid;
    let Some(flow) = &dumped.flow else {
        return Some(format!("{ufid} is there, but not as it was written"));
    };
    if flow.matching != view.flow.matching {
        return Some(format!("{ufid} matches {}", odp::format_match(&flow.matching)));
    }
    if flow.actions != view.flow.actions {
        let [is, wanted] = [flow, &view.flow].map(|flow| odp::format_actions(&flow.actions));
        return Some(format!("{ufid} does '{is}' and not '{wanted}'"));
    }
    if !dumped.active {
        return Some(format!("{ufid} is there, but not in hardware"));
    }
    if place != "host" && dumped.generation != view.generation {
        let (is, wanted) = (dumped.generation, view.generation);
        return Some(format!("{ufid} is of generation {is} and not {wanted}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::{Counters, Generation, Stats};

    fn view(text: &str) -> FlowView {
        let (_, matching, actions) = odp::parse_flow(text).unwrap();
        FlowView {
            flow: Arc::new(Megaflow::new(matching, actions.unwrap())),
            placement: Placement::Nic,
            provider: Some("fpga".to_owned()),
            refused: None,
            generation: Generation(3),
            nic: Counters::default(),
            host: Counters::default(),
            used: None,
            tcp_flags: 0,
        }
    }

    fn dumped(view: &FlowView) -> Dumped {
        let flow = Some(view.flow.clone());
        let (ufid, stats) = (view.flow.ufid, Stats::default());
        Dumped { ufid, generation: Generation(3), flow, stats, active: true }
    }

    #[test]
    fn every_difference_is_told() {
        let views = [1, 2, 3, 4, 5, 6]
            .map(|port| view(&format!("in_port({port}),eth(),eth_type(0x0800) actions:9")));
        let mut found: Vec<Dumped> = views.iter().map(dumped).collect();
        assert_eq!(differences("fpga", &views, &found), [""; 0]);
        let other = view("in_port(2),eth(),eth_type(0x0800) actions:8");
        found[1].flow = Some(other.flow);
        found[2].active = false;
        found[3].generation = Generation(2);
        found[4].flow = None;
        found.swap_remove(5);
        found.push(dumped(&view("in_port(7),eth(),eth_type(0x0800) actions:9")));
        let told = differences("fpga", &views, &found);
        let words = [
            "does '8' and not '9'",
            "not in hardware",
            "of generation 2 (the client's) and not 3 (the client's)",
            "not as it was written",
            "belongs to no megaflow",
            "is missing",
        ];
        assert_eq!(told.len(), words.len(), "{told:#?}");
        for (told, word) in told.iter().zip(words) {
            assert!(told.contains(word), "{told}");
        }
        assert_eq!(differences("tc", &views, &[]), [""; 0], "nothing is believed to be there");
        assert_eq!(differences("host", &views, &found[..1]).len(), 5);
    }

    #[test]
    fn overlaps_are_told_with_their_bits() {
        let flows = ["ipv4(dst=10.0.0.0/24)", "ipv4(src=10.0.0.1)"]
            .map(|ip| view(&format!("in_port(1),eth(),eth_type(0x0800),{ip} actions:9")).flow);
        let told = overlaps(&flows);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("ipv4_src, ipv4_dst/0xffffff00"), "{told:?}");
        assert!(overlaps(&flows[..1]).is_empty());
    }
}
