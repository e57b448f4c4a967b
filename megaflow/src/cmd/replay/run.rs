//! The replay itself: packets of captures in, packets of ports out.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;

use flow::{
    Blocking, Generation, Megaflow, Moment, Op, PortId, ProviderError, UpcallReason, overlap,
};
use hostdp::port::memory::{self, MemoryPeer};
use hostdp::port::pcap::{self, Output, Record};
use hostdp::{Datapath, DatapathSettings, Resolution};

use super::input::{Line, ReplayInput};
use super::report::{ReplaySummary, UpcallsByReason};
use crate::cmd::outcome::CommandFailure;

/// Number of packets that an output port can hold. One packet can leave a port several times
/// because of copies and recirculation.
const ROOM: usize = 4096;
/// Largest number of upcalls that are taken at a time.
const UPCALLS: usize = 64;

type Records = Peekable<pcap::Input>;

pub(super) fn replay(
    lines: &[Line],
    inputs: &[ReplayInput],
    out: &Path,
) -> Result<ReplaySummary, CommandFailure> {
    let mut sources = open(inputs)?;
    let mut datapath = Datapath::new(DatapathSettings::default());
    install(&mut datapath, lines)?;
    std::fs::create_dir_all(out).map_err(|error| wrong(out, &error))?;
    let flows: Vec<Arc<Megaflow>> = lines.iter().map(|line| line.flow.clone()).collect();
    let mut lab = Lab::new(datapath, &flows, inputs, out)?;
    let mut start = None;
    while let Some((port, record)) = next(&mut sources)? {
        let start = *start.get_or_insert(record.time);
        lab.packet(port, &record, Moment(record.time.saturating_sub(start)))?;
    }
    lab.finish(&flows)
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> CommandFailure {
    CommandFailure::Input(format!("{}: {error}", path.display()))
}

struct Source {
    port: PortId,
    name: String,
    records: Records,
}

fn open(inputs: &[ReplayInput]) -> Result<Vec<Source>, CommandFailure> {
    let open = |input: &ReplayInput| {
        let reader = pcap::open(&input.file).map_err(|error| wrong(&input.file, &error))?;
        let name = input.file.display().to_string();
        Ok(Source { port: input.port, name, records: reader.peekable() })
    };
    inputs.iter().map(open).collect()
}

/// The earliest packet of all captures; if times are equal, the packet of the capture that was
/// named first.
fn next(sources: &mut [Source]) -> Result<Option<(PortId, Record)>, CommandFailure> {
    let time = |source: &mut Source| match source.records.peek() {
        None => None,
        // A broken record has no time. It is reported before any other packet.
        Some(Err(_)) => Some(0),
        Some(Ok(record)) => Some(record.time),
    };
    let times = sources.iter_mut().enumerate();
    let earliest = times.filter_map(|(at, source)| Some((time(source)?, at))).min();
    let Some(source) = earliest.and_then(|(_, at)| sources.get_mut(at)) else { return Ok(None) };
    match source.records.next() {
        None => Ok(None),
        Some(Ok(record)) => Ok(Some((source.port, record))),
        Some(Err(error)) => Err(CommandFailure::Input(format!("{}: {error}", source.name))),
    }
}

/// The datapath, and the captures that are written.
struct Lab {
    datapath: Datapath,
    outputs: BTreeMap<PortId, (MemoryPeer, Output)>,
    upcall_file: Output,
    upcalls: UpcallsByReason,
}

impl Lab {
    fn new(
        mut datapath: Datapath,
        flows: &[Arc<Megaflow>],
        inputs: &[ReplayInput],
        out: &Path,
    ) -> Result<Lab, CommandFailure> {
        let mut numbers: BTreeSet<PortId> = inputs.iter().map(|input| input.port).collect();
        flows.iter().for_each(|flow| numbers.extend(flow.ports()));
        let mut outputs = BTreeMap::new();
        for port in numbers {
            let job = |error: &dyn std::fmt::Display| CommandFailure::Job(error.to_string());
            let (end, peer) = memory::open(&port.to_string(), ROOM).map_err(|error| job(&error))?;
            datapath.add_port(port, Box::new(end)).map_err(|error| job(&error))?;
            outputs.insert(port, (peer, create(&out.join(format!("{port}.pcap")))?));
        }
        let upcall_file = create(&out.join("upcall.pcap"))?;
        Ok(Lab { datapath, outputs, upcall_file, upcalls: UpcallsByReason::default() })
    }

    /// Runs one packet through the datapath. The packets that leave because of it are written
    /// with its time.
    fn packet(&mut self, port: PortId, record: &Record, now: Moment) -> Result<(), CommandFailure> {
        let written =
            |error: std::io::Error| CommandFailure::Job(format!("writing captures: {error}"));
        self.datapath.receive(port, &record.frame, now);
        loop {
            let upcalls = self.datapath.next_upcalls(UPCALLS);
            if upcalls.is_empty() {
                break;
            }
            for upcall in upcalls {
                match upcall.reason {
                    UpcallReason::Miss => self.upcalls.miss += 1,
                    UpcallReason::Action(_) => self.upcalls.action += 1,
                }
                self.upcall_file.write(record.time, &upcall.frame).map_err(written)?;
                if let Some(id) = upcall.id {
                    self.datapath.resolve(id, &Resolution::Drop, now);
                }
            }
        }
        for (peer, file) in self.outputs.values_mut() {
            for packet in peer.drain() {
                file.write(record.time, packet.bytes()).map_err(written)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, flows: &[Arc<Megaflow>]) -> Result<ReplaySummary, CommandFailure> {
        let written =
            |error: std::io::Error| CommandFailure::Job(format!("writing captures: {error}"));
        for (_, file) in self.outputs.values_mut() {
            file.flush().map_err(written)?;
        }
        self.upcall_file.flush().map_err(written)?;
        let mut stats = Vec::new();
        self.datapath
            .table()
            .all_stats(&mut stats)
            .map_err(|e| CommandFailure::Job(e.to_string()))?;
        let stats = stats.into_iter().collect();
        Ok(ReplaySummary::new(flows, &stats, &self.datapath.snapshot(), self.upcalls))
    }
}

fn create(path: &Path) -> Result<Output, CommandFailure> {
    pcap::create(path).map_err(|error| wrong(path, &error))
}

/// Installs the megaflows; the host table decides about each. An error names file and line.
fn install(datapath: &mut Datapath, lines: &[Line]) -> Result<(), CommandFailure> {
    let ops: Vec<Op> = lines
        .iter()
        .map(|line| Op::Install { flow: line.flow.clone(), generation: Generation(1) })
        .collect();
    let mut done = Vec::new();
    datapath.table().apply(&ops, &mut done);
    for (Line { place, flow }, completion) in lines.iter().zip(done) {
        let Err(error) = completion.result else { continue };
        let other = |ufid| lines.iter().find(|line| line.flow.ufid == ufid);
        let error = match error {
            ProviderError::Exists => "appears twice".to_owned(),
            ProviderError::Overlap(ufid) => other(ufid)
                .map_or(error.to_string(), |other| overlap::explain(&flow.matching, &other.flow)),
            other => other.to_string(),
        };
        return Err(CommandFailure::Input(format!("{place}: {error}")));
    }
    Ok(())
}
