//! The states of the ports, told once for all workers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Sender;
use flow::PortId;

use super::WorkerEvent;
use crate::port::{LinkState, Port};

/// The state of a port, or of a worker's part of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SeenState {
    pub(super) name: String,
    pub(super) state: LinkState,
    pub(super) trouble: Option<String>,
}

impl SeenState {
    pub(super) fn of(port: &dyn Port) -> SeenState {
        let trouble = port.trouble().map(str::to_owned);
        SeenState { name: port.name().into(), state: port.state(), trouble }
    }

    /// Returns true if this is the state of the port.
    pub(super) fn is_of(&self, port: &dyn Port) -> bool {
        let SeenState { name, state, trouble } = self;
        (port.state(), port.trouble(), port.name()) == (*state, trouble.as_deref(), name)
    }
}

/// What all workers know of their ports. A worker comes here only when something has changed.
pub(super) struct PortStates {
    workers: usize,
    ports: Mutex<BTreeMap<PortId, KnownPort>>,
}

/// A port, as each worker sees its part of it; `None` where a worker does not have the port.
struct KnownPort {
    parts: Vec<Option<SeenState>>,
    told: Option<SeenState>,
}

impl KnownPort {
    /// The port as a whole: it works if all parts do. `None` before the last worker has it.
    fn whole(&self) -> Option<SeenState> {
        let parts: Option<Vec<&SeenState>> = self.parts.iter().map(Option::as_ref).collect();
        // Of several in this state the first has the word, if it has one.
        let rank = |part: &&SeenState| (part.state, part.trouble.is_some());
        parts?.into_iter().rev().max_by_key(rank).cloned()
    }
}

impl PortStates {
    pub(super) fn new(workers: usize) -> PortStates {
        PortStates { workers, ports: Mutex::default() }
    }

    /// A worker's part of a port has another state; with `None` the worker has the port no more.
    /// Sends an event if that changes the port's state, in the order of the changes.
    pub(super) fn changed(
        &self,
        worker: usize,
        id: PortId,
        now: Option<SeenState>,
        events: &Sender<WorkerEvent>,
    ) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = || KnownPort { parts: vec![None; self.workers], told: None };
        let port = ports.entry(id).or_insert_with(nobody);
        if let Some(part) = port.parts.get_mut(worker) {
            *part = now;
        }
        // The engine's thread may be gone.
        if port.parts.iter().all(Option::is_none) {
            if ports.remove(&id).is_some_and(|port| port.told.is_some()) {
                let _ = events.send(WorkerEvent::PortRemoved(id));
            }
            return;
        }
        let Some(whole) = port.whole().filter(|whole| port.told.as_ref() != Some(whole)) else {
            return;
        };
        port.told = Some(whole.clone());
        let SeenState { name, state, trouble } = whole;
        let _ = events.send(WorkerEvent::Port { id, name, state, trouble });
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    #[test]
    fn a_port_of_several_workers_is_told_once_and_works_if_all_parts_do() {
        let (states, (events, heard)) = (PortStates::new(2), unbounded());
        let part = |state, trouble: Option<&str>| {
            Some(SeenState { name: "p".into(), state, trouble: trouble.map(str::to_owned) })
        };
        let told = |worker, now| {
            states.changed(worker, PortId(1), now, &events);
            let told = heard.try_iter().map(|event| match event {
                WorkerEvent::Port { state, trouble, .. } => (Some(state), trouble),
                _ => (None, None),
            });
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(0, part(LinkState::Up, None)), []);
        assert_eq!(told(1, part(LinkState::Up, None)), [(Some(LinkState::Up), None)]);
        let slow = Some("slow".to_owned());
        assert_eq!(told(1, part(LinkState::Up, Some("slow"))), [(Some(LinkState::Up), slow)]);
        assert_eq!(told(0, part(LinkState::Down, None)), [(Some(LinkState::Down), None)]);
        assert_eq!(told(1, part(LinkState::Down, None)), []);
        assert_eq!(told(0, part(LinkState::Up, None)), []);
        assert_eq!(told(1, part(LinkState::Up, None)), [(Some(LinkState::Up), None)]);
        assert_eq!((told(0, None), told(1, None)), (vec![], vec![(None, None)]));
    }
}
