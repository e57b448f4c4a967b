//! `megaflow run`: from a configuration to running threads, and back to nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use flow::{PortId, Provider};
use hostdp::port::fpga::{FpgaPort, Plug};
use hostdp::port::pcap::PcapPort;
use hostdp::port::system::SystemPort;
use hostdp::port::tap::TapPort;
use hostdp::port::{Port, PortKind};
use nix::sys::signal::{SigSet, Signal};
use tc_flower::{DeviceSelector, TcProvider};
use vfio::{CardCapabilities, Driver, DriverConfig, Embedded, ModelCard, Wire};

use crate::config::{self, Card, ClientKind, Config, PortSettings, ProviderKind};
use crate::control::{Context, ControlSocket, log::Log};
use crate::host::{self, kernel::Kernel};
use crate::limits;
use crate::listeners::{HttpSocket, Listeners};
use crate::record::{ClientSetup, ProviderSetup, RecordFile, Setup, recorded};
use crate::runtime::{self, Parts};
use crate::wire::{PortWire, WireInterface};
use flow::Clock;
use offload::Settings;

/// Runs until it is told to stop, by `exit` or a signal.
#[must_use]
pub fn main(config: &Config, record: Option<RecordFile>, log: Log) -> ExitCode {
    limits::raise_open_files();
    match run(config, record, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("megaflow run: {}", limits::explained(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config, record: Option<RecordFile>, log: Log) -> io::Result<()> {
    // Signals are blocked until the listeners can handle them. A signal that comes earlier waits,
    // so that the daemon leaves nothing behind.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    // The control socket is taken first: a second daemon must not touch what the first one works
    // with.
    let socket = ControlSocket::take(&config.control.socket).map_err(io::Error::other)?;
    // The HTTP address is taken before any port is opened, for the same reason.
    let web = config.http.as_ref().map(HttpSocket::at).transpose()?;
    let clock = Clock::start();
    let Machine { parts, card } = build(config, record, &clock)?;
    let running = runtime::start(parts)?;
    let context = Context::new(running.handle.clone(), log);
    let listeners = Listeners::start(&context, Some(socket), web).and_then(|listeners| {
        listeners.exit_on_signals(&context.handle)?;
        signals.thread_unblock()?;
        Ok(listeners)
    });
    let listeners = match listeners {
        Ok(listeners) => listeners,
        Err(error) => {
            // The daemon takes out its megaflows, so that it leaves nothing behind after any
            // error.
            let _ = context.handle.exit();
            running.join()?;
            return Err(error);
        }
    };
    tracing::info!(datapath = %config.datapath.name, "running");
    running.join()?;
    listeners.stop();
    drop(card);
    tracing::info!("stopped");
    Ok(())
}

/// What is built from a configuration.
struct Machine {
    parts: Parts,
    /// The embedded card, or the last handle of the real card. It is dropped last.
    card: Option<OpenCard>,
}

/// A card that was opened.
struct OpenCard {
    driver: Driver,
    /// What the card's wires are plugged into, if this process knows.
    plugs: BTreeMap<PortId, Plug>,
    /// Dropped after the driver has reset it.
    _model: Option<ModelCard>,
}

fn build(config: &Config, record: Option<RecordFile>, clock: &Clock) -> io::Result<Machine> {
    let flow_limit = config.datapath.flow_limit;
    let cores = config.datapath.workers.clone();
    let workers = cores.len().max(1);
    let settings = hostdp::DatapathSettings {
        seed: seed(),
        flow_limit,
        ..hostdp::DatapathSettings::default()
    };
    let mut datapaths: Vec<_> = (0..workers).map(|_| hostdp::Datapath::new(settings)).collect();
    // Interfaces that may belong to another datapath come first, ports that opening creates come
    // last.
    let mut card = None;
    for step in [Step::Interfaces, Step::Card, Step::Made] {
        if step == Step::Card {
            card = open_card(config, clock)?;
        }
        for port in config.ports.iter().filter(|port| Step::of(&port.kind) == step) {
            let parts = open_port(port, card.as_mut(), clock, workers)?;
            for (datapath, part) in datapaths.iter_mut().zip(parts) {
                datapath.add_port(port.id, part).map_err(io::Error::other)?;
            }
        }
    }
    let client = match config.datapath.client {
        ClientKind::L2 => {
            ClientSetup::L2 { ageing: config.l2.ageing, max_entries: config.l2.max_entries }
        }
        ClientKind::None => ClientSetup::None,
    };
    let max_idle = config.datapath.max_idle;
    let settings = Settings { flow_limit, max_idle, ..Settings::default() };
    let mut setup = Setup { client, settings, providers: Vec::new() };
    let mut providers: Vec<Box<dyn Provider>> = Vec::new();
    for provider in &config.providers {
        let opened: Box<dyn Provider> = match &provider.kind {
            ProviderKind::Tc => open_tc(config, clock)?,
            ProviderKind::Fpga(_) => {
                let table = card.as_mut().and_then(|card| card.driver.take_provider());
                Box::new(table.ok_or_else(|| io::Error::other("the card has no flow table"))?)
            }
        };
        let inserts_per_second = provider.inserts_per_second.unwrap_or(u32::MAX);
        let name = opened.name().to_owned();
        setup.providers.push(ProviderSetup { name, inserts_per_second });
        providers.push(opened);
    }
    let (engine, recorder) = recorded(&setup, &providers, record)?;
    let name = config.datapath.name.clone();
    let clock = clock.clone();
    let parts = Parts { name, clock, engine, recorder, datapaths, cores, providers };
    Ok(Machine { parts, card })
}

/// The order in which ports are opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Interfaces that exist. If another datapath has one of them, the start fails before
    /// anything was changed.
    Interfaces,
    /// The card and its ports.
    Card,
    /// Interfaces and files that the daemon makes.
    Made,
}

impl Step {
    fn of(kind: &PortSettings) -> Step {
        match kind {
            PortSettings::System { .. } => Step::Interfaces,
            PortSettings::Fpga { .. } => Step::Card,
            PortSettings::Internal | PortSettings::Tap(_) | PortSettings::Pcap { .. } => Step::Made,
        }
    }
}

/// Returns a random seed for hostdp's hashes. Senders of packets must not know it.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one("hostdp")
}

/// Opens the card that the configuration names, with its wires in their order.
fn open_card(config: &Config, clock: &Clock) -> io::Result<Option<OpenCard>> {
    let card = config.providers.iter().find_map(|provider| match &provider.kind {
        ProviderKind::Fpga(card) => Some(card),
        ProviderKind::Tc => None,
    });
    let Some(card) = card else { return Ok(None) };
    let mut wires: Vec<(u16, &config::PortSection, Option<&str>)> = Vec::new();
    for port in &config.ports {
        if let PortSettings::Fpga { wire, device } = &port.kind {
            wires.push((*wire, port, device.as_deref()));
        }
    }
    wires.sort_by_key(|(wire, ..)| *wire);
    let ids: Vec<PortId> = wires.iter().map(|(_, port, _)| port.id).collect();
    let mut settings = DriverConfig::new(&ids, clock.clone());
    match card {
        Card::Pci(address) => {
            let explained = |e| host::card::explained(Path::new("/"), address, &e);
            let driver = Driver::open_vfio(address, &settings)
                .map_err(|e| io::Error::other(explained(e)))?;
            Ok(Some(OpenCard { driver, plugs: BTreeMap::new(), _model: None }))
        }
        Card::Model { entries } => {
            let mut plugged: Vec<Box<dyn Wire>> = Vec::new();
            let mut plugs = BTreeMap::new();
            for (number, port, device) in wires {
                let name = &port.name;
                let missing = || io::Error::other(format!("port {name}: wire {number}: no device"));
                let device = device.ok_or_else(missing)?;
                let interface = SystemPort::open_as(name, device).map_err(io::Error::other)?;
                if let Some(mtu) = interface.mtu() {
                    settings.take_frames(mtu as usize + LINK_HEADERS);
                }
                let lane = WireInterface { port: Box::new(interface), vid: None };
                let (wire, handle) = PortWire::new(vec![lane])?;
                plugged.push(Box::new(wire));
                plugs.insert(port.id, handle.plug());
            }
            let capabilities = entries.map(CardCapabilities::with_room).unwrap_or_default();
            let model = Embedded::start(capabilities, plugged, &settings);
            let Embedded { driver, card } = model.map_err(io::Error::other)?;
            Ok(Some(OpenCard { driver, plugs, _model: Some(card) }))
        }
    }
}

/// Bytes that a frame may have beyond its interface's MTU: an Ethernet header and two VLAN tags.
const LINK_HEADERS: usize = 14 + 8;

/// Opens a port; returns a part of it for each worker.
fn open_port(
    port: &config::PortSection,
    card: Option<&mut OpenCard>,
    clock: &Clock,
    workers: usize,
) -> io::Result<Vec<Box<dyn Port>>> {
    let (id, name) = (port.id, &port.name);
    let whole: Box<dyn Port> = match &port.kind {
        PortSettings::System { device, io } => {
            let interface = interface_of(name, device)?;
            let parts = SystemPort::open_parts(name, &interface, *io, workers);
            return Ok(boxed(parts.map_err(io::Error::other)?));
        }
        PortSettings::Internal => {
            let parts = TapPort::open_parts(name, name, PortKind::Internal, workers);
            return Ok(boxed(parts.map_err(io::Error::other)?));
        }
        PortSettings::Tap(device) => {
            let parts = TapPort::open_parts(name, device, PortKind::Tap, workers);
            return Ok(boxed(parts.map_err(io::Error::other)?));
        }
        PortSettings::Pcap { input, output } => {
            let (input, output) = (input.as_deref(), output.as_deref());
            let opened = PcapPort::open(name, input, output, clock.clone());
            Box::new(opened.map_err(io::Error::other)?)
        }
        PortSettings::Fpga { .. } => {
            let missing = || io::Error::other(format!("port {name}: the card has no such wire"));
            let card = card.ok_or_else(missing)?;
            let rings = card.driver.take_port(id).ok_or_else(missing)?;
            let port = FpgaPort::new(name, Box::new(rings));
            match card.plugs.remove(&id) {
                Some(plug) => Box::new(port.plugged(plug)),
                None => Box::new(port),
            }
        }
    };
    hostdp::port::share(whole, workers).map_err(io::Error::other)
}

fn boxed(parts: Vec<impl Port + 'static>) -> Vec<Box<dyn Port>> {
    parts.into_iter().map(|part| Box::new(part) as Box<dyn Port>).collect()
}

/// Returns the name of the interface that a port's device selects at this moment.
fn interface_of(port: &str, device: &DeviceSelector) -> io::Result<String> {
    match tc_flower::find(device) {
        Ok(Some(found)) => Ok(found.name),
        Ok(None) => Err(io::Error::other(format!(
            "port {port}: there is no interface {device}: make it, or correct the port's device"
        ))),
        Err(error) => Err(io::Error::other(format!("port {port}: {error}"))),
    }
}

/// Opens the tc provider on the interfaces of the system ports.
fn open_tc(config: &Config, clock: &Clock) -> io::Result<Box<dyn Provider>> {
    let ports: Vec<(PortId, DeviceSelector)> = config
        .ports
        .iter()
        .filter_map(|port| match &port.kind {
            PortSettings::System { device, .. } => Some((port.id, device.clone())),
            PortSettings::Internal
            | PortSettings::Tap(_)
            | PortSettings::Pcap { .. }
            | PortSettings::Fpga { .. } => None,
        })
        .collect();
    let provider = TcProvider::open(&ports, clock.clone());
    let provider = provider.map_err(io::Error::other)?;
    let kernel = Kernel::read(Path::new("/"));
    if let Some(why) = host::nic::without_offload(&provider.ports(), &kernel) {
        tracing::warn!("{why}");
    }
    Ok(Box::new(provider))
}
