//! The threads around the engine. The engine decides; the threads carry out its commands.
//!
//! One thread owns the engine and its client, each worker owns a replica of the host datapath, and
//! each hardware provider has a thread of its own. The threads communicate over channels only. This
//! module decides nothing.

mod conservation;
mod counted;
mod engine;
mod floods;
mod freed;
mod operations;
mod ports;
mod provider;
mod status;
mod witness;
#[cfg(test)]
mod world;

use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::unbounded;
use flow::{Histogram, Provider, StepTimer};

use crate::handle::{Handle, StopFlag};
use crate::record::Recorder;
use conservation::Rest;
use engine::{EngineThread, UnansweredUpcalls};
use floods::Floods;
use flow::Clock;
use freed::FreedMemory;
use offload::{Engine, ProviderId};
use operations::Operations;
use ports::KnownPorts;
use status::About;
use witness::{DeviceTraffic, Witnesses};

/// What the runtime is made of.
pub struct Parts {
    /// The datapath's name.
    pub name: String,
    /// The clock that everything reads.
    pub clock: Clock,
    /// The engine, with its hardware added.
    pub engine: Engine,
    /// Records the engine's steps.
    pub recorder: Option<Recorder>,
    /// The host datapath of each worker, with its parts of the ports added; at least one.
    pub datapaths: Vec<hostdp::Datapath>,
    /// The CPU cores that the workers are pinned to, in their order. Those beyond the list are not
    /// pinned.
    pub cores: Vec<usize>,
    /// The hardware providers, in the order in which the engine knows them.
    pub providers: Vec<Box<dyn Provider>>,
}

/// The running threads of a daemon.
pub struct Running {
    /// Passes requests to the engine.
    pub handle: Handle,
    thread: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Waits until the threads have stopped (see [`Handle::exit`]).
    pub fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the engine's thread died")))
    }
}

/// Starts the threads.
pub fn start(parts: Parts) -> io::Result<Running> {
    let (requests, asked) = unbounded();
    let stop = StopFlag::default();
    let (news, heard) = unbounded();
    let clock = parts.clock;
    let ports = parts.datapaths.first().map(KnownPorts::of).unwrap_or_default();
    let worker = hostdp::worker::spawn(parts.datapaths, &clock, &parts.cores)?;
    let mut providers = Vec::new();
    for (index, provider) in parts.providers.into_iter().enumerate() {
        let id = ProviderId(index);
        providers.push(provider::ProviderThread::start(id, provider, clock.clone(), news.clone())?);
    }
    let engine = EngineThread {
        about: About { name: parts.name, cores: parts.cores, clock: clock.clone() },
        engine: parts.engine,
        recorder: parts.recorder,
        host: worker.handle().clone(),
        worker,
        providers,
        news,
        traffic: DeviceTraffic::new(),
        witnesses: Witnesses::default(),
        rest: Rest::default(),
        by_hand: BTreeMap::new(),
        upcalls: UnansweredUpcalls::default(),
        steps: Histogram::durations(),
        timer: StepTimer::new(clock),
        operations: Operations::default(),
        ports,
        floods: Floods::default(),
        freed: FreedMemory::default(),
        waiting: BTreeMap::new(),
        next_token: 0,
        stop: stop.clone(),
        stopping: None,
    };
    let run = move || engine.run(&asked, &heard);
    let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(run)?;
    Ok(Running { handle: Handle::new(requests, stop), thread })
}

#[cfg(test)]
mod tests {
    use flow::PortId;

    use super::*;
    use flow::packet::Packet;
    use hostdp::port::{Batch, LinkState, Port, PortKind, TxReport};
    use offload::{ByRate, Settings};

    struct Bug;

    impl Port for Bug {
        fn name(&self) -> &str {
            "bug"
        }
        fn kind(&self) -> PortKind {
            PortKind::Memory
        }
        fn receive(&mut self, _batch: &mut Batch) {
            panic!("as a bug would");
        }
        fn transmit(&mut self, _frames: &mut Vec<Packet>, _report: &mut TxReport) {}
        fn state(&self) -> LinkState {
            LinkState::Up
        }
    }

    /// If a thread of the datapath dies, the daemon ends with an error, so that its supervisor can
    /// restart it.
    #[test]
    fn a_dead_datapath_is_an_error_and_not_a_silence() {
        for workers in [1, 2] {
            let mut datapaths: Vec<_> = (0..workers)
                .map(|_| hostdp::Datapath::new(hostdp::DatapathSettings::default()))
                .collect();
            datapaths[workers - 1].add_port(PortId(1), Box::new(Bug)).unwrap();
            let client = Box::new(pipeline::none::NoClient);
            let engine = Engine::new(Settings::default(), client, Box::new(ByRate));
            let (name, clock) = ("test".to_owned(), Clock::start());
            let (recorder, cores, providers) = (None, Vec::new(), Vec::new());
            let parts = Parts { name, clock, engine, recorder, datapaths, cores, providers };
            let running = start(parts).unwrap();
            assert!(running.join().unwrap_err().to_string().contains("host datapath"));
        }
    }
}
