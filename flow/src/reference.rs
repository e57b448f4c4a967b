//! The slow obvious twins: what everything fast is compared with.

use std::sync::Arc;

use crate::key::Key;
use crate::megaflow::Megaflow;

/// A flow table that looks at every megaflow in turn.
#[derive(Default, Debug)]
pub struct Table {
    flows: Vec<Arc<Megaflow>>,
}

impl Table {
    /// Adds a megaflow, or returns the one that it overlaps with (exactly: is there any packet
    /// that both match?).
    pub fn install(&mut self, flow: Arc<Megaflow>) -> Result<(), Arc<Megaflow>> {
        match self.flows.iter().find(|other| other.matching.overlaps(&flow.matching)) {
            Some(other) => Err(other.clone()),
            None => {
                self.flows.push(flow);
                Ok(())
            }
        }
    }

    /// Takes a megaflow out; was it there?
    pub fn remove(&mut self, ufid: crate::Ufid) -> bool {
        let before = self.flows.len();
        self.flows.retain(|flow| flow.ufid != ufid);
        self.flows.len() < before
    }

    /// The megaflow that the key hits: there is at most one.
    #[must_use]
    pub fn lookup(&self, key: &Key) -> Option<&Arc<Megaflow>> {
        self.flows.iter().find(|flow| flow.matching.hits(key))
    }
}
