//! Methods that show where megaflows live, and why they do not live elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use flow::{Placement, Subject};

use super::ask::status;
use super::{Chosen, Context, Pages};
use crate::control::view::{Flow, ShownState};
use ::offload::FlowView;

/// Returns the megaflows as a JSON list; the parameters are `[all|host|nic|refused] [FILTER]`.
pub(super) fn flows(context: &Context, params: &[&str]) -> Result<Pages, String> {
    let (place, filter) = match params {
        [] => (None, ""),
        [word] => place(word).map_or((None, *word), |place| (place, "")),
        [word, filter, ..] => {
            let place = place(word);
            let wrong = || format!("unknown place '{word}': expected all, host, nic or refused");
            let place = place.ok_or_else(wrong)?;
            (place, *filter)
        }
    };
    let chosen = Chosen::parse(context, place, filter)?;
    // A list's elements have commas between them, and so the first one is written differently.
    let mut before = "[";
    Ok(Pages::new(move |page| {
        let mut text = String::new();
        for (_, view) in page.flows.iter().filter(|(_, view)| chosen.has(view)) {
            text.push_str(std::mem::replace(&mut before, ","));
            text.push_str(&serde_json::to_string(&Flow::from(view)).map_err(|e| e.to_string())?);
        }
        if page.next.is_none() {
            text.push_str(if before == "[" { "[]\n" } else { "]\n" });
        }
        Ok(text)
    }))
}

/// Finds a placement by its word. `Some(None)` stands for all placements.
fn place(word: &str) -> Option<Option<Placement>> {
    if word == "all" {
        return Some(None);
    }
    Placement::ALL.into_iter().find(|place| place.name() == word).map(Some)
}

/// Returns the state as JSON.
pub(super) fn status_as_json(context: &Context, _: &[&str]) -> Result<String, String> {
    json(&ShownState::from(&status(context)?))
}

pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// Returns the number of megaflows that are refused, by reason and by the subject at fault. A
/// megaflow with several reasons is counted under each.
pub(super) fn reasons(context: &Context, _: &[&str]) -> Result<String, String> {
    let mut counts: BTreeMap<&str, (u64, BTreeMap<Subject, u64>)> = BTreeMap::new();
    let count = |view: FlowView| {
        let Some(refused) = view.refused else { return };
        let mut of_flow: BTreeMap<&str, BTreeSet<Subject>> = BTreeMap::new();
        for refusal in refused.why.iter() {
            of_flow.entry(refusal.reason.code()).or_default().insert(refusal.subject);
        }
        for (reason, subjects) in of_flow {
            let (total, counts) = counts.entry(reason).or_default();
            *total += 1;
            subjects.into_iter().for_each(|subject| *counts.entry(subject).or_default() += 1);
        }
    };
    context.handle.for_each_flow(count).map_err(|error| error.to_string())?;
    let mut text = String::new();
    for (reason, (total, subjects)) in &counts {
        let list: Vec<String> = subjects.iter().map(|(what, n)| format!("{what} {n}")).collect();
        let _ = writeln!(text, "{reason}: {total} ({})", list.join(", "));
    }
    if counts.is_empty() {
        text.push_str("no flow is refused\n");
    }
    Ok(text)
}

/// Returns the state, tables and decisions of the hardware providers.
pub(super) fn show(context: &Context, _: &[&str]) -> Result<String, String> {
    let state = ShownState::from(&status(context)?);
    let mut text = String::new();
    let places: Vec<String> =
        state.flows.iter().map(|(place, count)| format!("{place}:{count}")).collect();
    let _ = writeln!(text, "flows: {}", places.join(" "));
    if state.providers.is_empty() {
        text.push_str("no hardware provider is configured\n");
    }
    for provider in &state.providers {
        let up = if provider.up { "up" } else { "down" };
        let why = provider.trouble.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let _ = writeln!(text, "{}: {up}{why}", provider.name);
        for table in &provider.tables {
            let capacity = table.capacity.map_or("unknown".to_owned(), |size| size.to_string());
            let _ = writeln!(text, "  table {}: {} of {capacity}", table.table, table.entries);
        }
        let (waiting, limit) = provider.queue;
        let _ = writeln!(text, "  queue: {waiting} of {limit}");
        let _ = write!(text, "  decisions: admitted:{}", provider.admitted);
        for (reason, count) in provider.refused.iter().filter(|(_, count)| **count > 0) {
            let _ = write!(text, " {reason}:{count}");
        }
        text.push('\n');
        let _ = write!(text, "  drift: {} packets; corrections:", provider.drift_packets);
        for (kind, count) in &provider.corrections {
            let _ = write!(text, " {kind}:{count}");
        }
        text.push('\n');
    }
    Ok(text)
}
