//! The host table as a provider.

use std::sync::Arc;

use flow::{
    Admission, Completion, Dumped, Op, Provider, ProviderError, ProviderEvent, Stats, TableUsage,
    Ufid,
};

use super::FlowTable;

impl Provider for FlowTable {
    fn name(&self) -> &str {
        "host"
    }

    fn admission(&self) -> Arc<dyn Admission> {
        self.admission.clone()
    }

    fn apply(&mut self, ops: &[Op], done: &mut Vec<Completion>) {
        for op in ops {
            let result = match op {
                Op::Install { flow, generation } => self.install(flow, *generation),
                Op::Replace { flow, generation } => self.replace(flow, *generation),
                Op::Remove { ufid } => self.remove(*ufid),
            };
            done.push(Completion { ufid: op.ufid(), kind: op.kind(), result });
        }
    }

    fn stats(&mut self, out: &mut Vec<(Ufid, Stats)>) -> Result<(), ProviderError> {
        let entries = self.slots.iter().filter_map(|slot| slot.entry.as_ref());
        out.extend(entries.map(|entry| (entry.flow.ufid, entry.stats)));
        Ok(())
    }

    fn dump(&mut self, out: &mut Vec<Dumped>) -> Result<(), ProviderError> {
        let entries = self.slots.iter().filter_map(|slot| slot.entry.as_ref());
        out.extend(entries.map(|entry| Dumped {
            ufid: entry.flow.ufid,
            generation: entry.generation,
            flow: Some(entry.flow.clone()),
            stats: entry.stats,
            active: true,
        }));
        Ok(())
    }

    /// The host table dies with its process, so this process has installed all its megaflows.
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        let ours = |dumped: &&Dumped| {
            let slot = self.by_ufid.get(&dumped.ufid).and_then(|slot| self.entry(*slot));
            slot.is_some_and(|entry| entry.generation == dumped.generation)
        };
        found.iter().filter(ours).map(|dumped| dumped.ufid).collect()
    }

    fn tables(&self) -> Vec<TableUsage> {
        let entries = self.len() as u64;
        vec![TableUsage {
            table: "megaflow",
            holds_megaflows: true,
            entries,
            capacity: Some(self.limit as u64),
        }]
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        Vec::new()
    }
}
