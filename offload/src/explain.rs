//! Explains what each hardware provider does with a megaflow. The functions that decide are
//! asked, so the explanation holds for this moment.

use flow::{Megaflow, Moment, Reason, Reasons, Refusal, TableUsage};

use super::entry::Entry;
use super::hardware::Hardware;
use super::{Engine, ProviderId};
use crate::request::{Explanation, Standing};

impl Engine {
    /// Returns one explanation for each hardware provider. The megaflow may be installed or not.
    pub(super) fn explain(&self, flow: &Megaflow, now: Moment) -> Vec<Explanation> {
        let entry = self.flows.get(&flow.ufid).filter(|e| e.flow.actions == flow.actions);
        let hardware = self.hardware.iter().enumerate();
        let explain = |(index, hardware): (usize, &Hardware)| {
            let provider = hardware.name.to_string();
            match hardware.admission.explain(flow) {
                Err(why) => Explanation { provider, plan: None, standing: Standing::Refuses(why) },
                Ok(plan) => {
                    let standing = self.standing(flow, entry, ProviderId(index), hardware, now);
                    Explanation { provider, plan: Some(plan), standing }
                }
            }
        };
        hardware.map(explain).collect()
    }

    /// Returns the standing of a megaflow with a provider that admits it.
    fn standing(
        &self,
        flow: &Megaflow,
        entry: Option<&Entry>,
        provider: ProviderId,
        hardware: &Hardware,
        now: Moment,
    ) -> Standing {
        let entry = entry.filter(|entry| entry.provider == Some(provider));
        if entry.is_some_and(|entry| entry.nic.life.forwards()) {
            return Standing::Holds;
        }
        let mut reasons = Reasons::default();
        if let Some(why) = &hardware.gone {
            reasons.add(Refusal::new(Reason::DeviceGone, "device").detail(why));
        }
        let obstacles = self.obstacles(flow, provider, false).into_refusals();
        // The device's own refusal: the admission function does not know of it.
        let said = entry.filter(|entry| entry.stays_refused(now));
        let refused = said.and_then(Entry::refusal);
        let refusals = obstacles.iter().chain(refused.map(|refused| &refused.why));
        let refusals = refusals.flat_map(|refusals| refusals.iter().cloned());
        reasons.extend(refusals.map(|refusal| hardware.with_usage(refusal)));
        let is_final = said.is_some_and(|entry| entry.retry.is_none()) || hardware.gone.is_some();
        match reasons.into_refusals() {
            None => Standing::Takes,
            Some(why) if is_final => Standing::Refuses(why),
            Some(why) => Standing::Waits(why),
        }
    }
}

impl Hardware {
    /// Adds the use of the tables to the detail of a `TableFull` refusal: of the table that the
    /// refusal names, and of each other table for megaflows that is full. If no known table is
    /// named, the use of every table for megaflows is added.
    fn with_usage(&self, mut refusal: Refusal) -> Refusal {
        if refusal.reason != Reason::TableFull {
            return refusal;
        }
        let is_named = |table: &&TableUsage| table.table == refusal.subject;
        let has_named = self.tables.iter().any(|table| is_named(&table));
        let counts = |table: &&TableUsage| {
            let is_full = table.capacity.is_some_and(|capacity| table.entries >= capacity);
            is_named(table) || table.holds_megaflows && (is_full || !has_named)
        };
        let usage = self.tables.iter().filter(counts).map(
            |TableUsage { table, entries, capacity, .. }| match capacity {
                Some(capacity) => format!("{table} {entries} of {capacity}"),
                None => format!("{table} {entries} (its capacity is not known)"),
            },
        );
        let usage: Vec<String> = usage.collect();
        if !usage.is_empty() {
            let separator = if refusal.detail.is_empty() { "" } else { "; " };
            refusal.detail += &format!("{separator}in use: {}", usage.join(", "));
        }
        refusal
    }
}
