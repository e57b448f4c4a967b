//! The demo's machine: the embedded card, the host datapath on its rings, the engine, the page.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use flow::{Megaflow, PortId, Provider, odp};
use hostdp::port::fpga::FpgaPort;
use vfio::{CardCapabilities, CardLedger, DriverConfig, Embedded, MemoryWire, Wire};

use super::lan::Lan;
use super::replay::{Player, Timed};
use crate::config::Http;
use crate::control::{Context, log::Log};
use crate::handle::Handle;
use crate::listeners::{HttpSocket, Listeners};
use crate::record::{ClientSetup, ProviderSetup, RecordFile, Setup, recorded};
use crate::runtime::{self, Parts, Running};
use crate::wire::{PortWire, WireHandle};
use flow::Clock;
use flow::testing::faulty::{Faults, Faulty};
use offload::Request;
use offload::Settings;

/// The running parts of the demo.
pub(super) struct Rig {
    pub(super) handle: Handle,
    pub(super) ledger: CardLedger,
    wires: Vec<WireHandle>,
    capture: std::cell::Cell<Option<MemoryWire>>,
    running: Running,
    listeners: Listeners,
    card: Embedded,
}

/// Flows that an operator would add, on the captures' port. The first two are a chain that the
/// card can follow: pop a label, look up again, rewrite the TTL. The card can take neither the
/// third flow, which truncates, nor the last two, a chain whose second half sends a copy up.
const OPERATOR_FLOWS: [&str; 5] = [
    "recirc_id(0),in_port(CAPTURE),eth_type(0x8847),mpls(label=100),\
     actions:pop_mpls(eth_type=0x800),recirc(0x1)",
    "recirc_id(0x1),in_port(CAPTURE),eth_type(0x0800),ipv4(ttl=64,frag=no),\
     actions:set(ipv4(ttl=63)),1",
    "recirc_id(0),in_port(CAPTURE),eth_type(0x8847),mpls(label=200),actions:trunc(96),2",
    "recirc_id(0),in_port(CAPTURE),eth_type(0x8847),mpls(label=300),\
     actions:pop_mpls(eth_type=0x800),recirc(0x2)",
    "recirc_id(0x2),in_port(CAPTURE),eth_type(0x0800),ipv4(ttl=64,frag=no),\
     actions:set(ipv4(ttl=63)),1,userspace(pid=1)",
];

impl Rig {
    /// Starts the machine. Wires 1 to 3 belong to the hosts, the last wire to the captures.
    pub(super) fn start(
        lan: Option<&Lan>,
        faults: Option<Faults>,
        record: Option<RecordFile>,
    ) -> io::Result<Rig> {
        let mut names = Vec::new();
        let mut wires: Vec<Box<dyn Wire>> = Vec::new();
        let mut handles = Vec::new();
        for host in lan.into_iter().flat_map(|lan| lan.hosts.iter().map(move |host| (lan, host))) {
            let (wire, handle) = PortWire::new(host.0.lanes(host.1.number)?)?;
            names.push(format!("host{}", host.1.number));
            wires.push(Box::new(wire));
            handles.push(handle);
        }
        let clock = Clock::start();
        let (card_end, capture) = MemoryWire::pair(1024).map_err(io::Error::other)?;
        names.push("capture".to_owned());
        wires.push(Box::new(card_end));
        let ids: Vec<PortId> = (1..).take(names.len()).map(PortId).collect();
        let config = DriverConfig { packet_log2: 12, ..DriverConfig::new(&ids, clock.clone()) };
        let mut card = Embedded::start(CardCapabilities::default(), wires, &config)
            .map_err(io::Error::other)?;
        let mut datapath = hostdp::Datapath::new(hostdp::DatapathSettings::default());
        let mut plugs = handles.iter();
        for (id, name) in ids.iter().zip(&names) {
            let rings = card.driver.take_port(*id).ok_or_else(|| io::Error::other("no rings"))?;
            let mut port = FpgaPort::new(name, Box::new(rings));
            if let Some(handle) = plugs.next() {
                port = port.plugged(handle.plug());
            }
            datapath.add_port(*id, Box::new(port)).map_err(io::Error::other)?;
        }
        let table = card.driver.take_provider().ok_or_else(|| io::Error::other("no table"))?;
        let mut provider: Box<dyn Provider> = Box::new(table);
        if let Some(faults) = faults {
            provider = Box::new(Faulty::new(provider, faults, 1));
        }
        let settings = Settings {
            // The idle time is longer than the demo, so that the table at the end shows every
            // megaflow.
            max_idle: Duration::from_secs(120),
            stats_interval: Duration::from_millis(100),
            ..Settings::default()
        };
        let providers: Vec<Box<dyn Provider>> = vec![provider];
        let (engine, recorder) = recorded(&setup(settings), &providers, record)?;
        let parts = Parts {
            name: "demo".to_owned(),
            clock,
            engine,
            recorder,
            datapaths: vec![datapath],
            cores: Vec::new(),
            providers,
        };
        let ledger = card.ledger();
        let running = runtime::start(parts)?;
        let handle = running.handle.clone();
        let listeners = page(&handle)?;
        let capture = std::cell::Cell::new(Some(capture));
        Ok(Rig { handle, ledger, wires: handles, capture, running, listeners, card })
    }

    /// The URL of the page.
    pub(super) fn page(&self) -> String {
        self.listeners.web_address().map_or_else(String::new, |at| format!("http://{at}/"))
    }

    /// Installs the operator's flows. Must be called before the captures are replayed: otherwise
    /// the client would have megaflows of its own for these packets.
    pub(super) fn operator_flows(&self) -> io::Result<()> {
        let capture = (self.wires.len() + 1).to_string();
        for text in OPERATOR_FLOWS {
            let text = text.replace("CAPTURE", &capture);
            let (_, matching, actions) = odp::parse_flow(&text).map_err(io::Error::other)?;
            let flow = Megaflow::new(matching, actions.unwrap_or_else(|| [].into()));
            self.handle.request(Request::Install(Arc::new(flow))).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Replays captures on the last wire.
    pub(super) fn play(&self, frames: Vec<Timed>) -> io::Result<Player> {
        let wire = self.capture.take().ok_or_else(|| io::Error::other("played already"))?;
        Player::start(wire, frames)
    }

    /// Passes no more frames to the card.
    pub(super) fn close_wires(&self) {
        self.wires.iter().for_each(WireHandle::close);
    }

    /// Stops everything in order.
    pub(super) fn stop(self) -> io::Result<()> {
        self.handle.exit().map_err(io::Error::other)?;
        self.running.join()?;
        self.listeners.stop();
        drop(self.card);
        Ok(())
    }
}

/// A MAC-learning switch over one card.
fn setup(settings: Settings) -> Setup {
    let pipeline::l2::L2Settings { ageing, max_entries } = pipeline::l2::L2Settings::default();
    Setup {
        client: ClientSetup::L2 { ageing, max_entries },
        settings,
        providers: vec![ProviderSetup { name: "fpga".to_owned(), inserts_per_second: 50_000 }],
    }
}

/// Starts the page and the metrics, on the usual port or else on a free one.
fn page(handle: &Handle) -> io::Result<Listeners> {
    let context = Context::new(handle.clone(), Log::detached());
    let at = |port| HttpSocket::at(&Http::at(([127, 0, 0, 1], port).into()));
    Listeners::start(&context, None, Some(at(9464).or_else(|_| at(0))?))
}
