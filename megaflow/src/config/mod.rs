//! The configuration file `megaflow.toml`, read and checked.
//!
//! One file per idea: `keys` has the table of all keys; `section` walks the text and knows its
//! lines and unknown keys; `read` turns sections into the types below; `check` looks at what
//! concerns more than one section.

mod check;
pub mod keys;
mod read;
mod section;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow::PortId;
use hostdp::port::system::SystemIo;
use pipeline::l2::L2Settings;
use tc_flower::DeviceSelector;

/// A configuration that makes sense in itself. Whether its devices exist is found out at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The datapath.
    pub datapath: DatapathSection,
    /// The datapath's ports, in the order of the file.
    pub ports: Vec<PortSection>,
    /// The hardware providers, in the order of the file; at most one of each kind.
    pub providers: Vec<ProviderSection>,
    /// The settings of the MAC-learning switch, used if the switch is the client.
    pub l2: L2Settings,
    /// The control socket.
    pub control: Control,
    /// The HTTP listener; `None` without `[http]`.
    pub http: Option<Http>,
}

/// The section `[datapath]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatapathSection {
    /// The datapath's name.
    pub name: String,
    /// The CPU core of each forwarding thread; if empty, there is one and the kernel chooses.
    pub workers: Vec<usize>,
    /// The client, which answers upcalls.
    pub client: ClientKind,
    /// The largest number of megaflows.
    pub flow_limit: usize,
    /// The time without a packet after which a client's megaflow is removed.
    pub max_idle: Duration,
}

/// The kinds of client. The client answers upcalls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientKind {
    /// The MAC-learning switch.
    L2,
    /// No client: megaflows come over the control socket only.
    None,
}

impl ClientKind {
    /// The client's word in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClientKind::L2 => "l2",
            ClientKind::None => "none",
        }
    }
}

/// A section `[[port]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortSection {
    /// The port's number in megaflows: `number`, or the port's place in the file, from 1.
    pub id: PortId,
    /// The port's name, which is unique.
    pub name: String,
    /// The port's type and settings.
    pub kind: PortSettings,
}

/// The type and settings of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortSettings {
    /// An interface that exists already.
    System {
        /// The interface.
        device: DeviceSelector,
        /// How frames come from the kernel and go to it.
        io: SystemIo,
    },
    /// A tap interface named like the port. The interface is made at start, is up, and goes away
    /// at the end.
    Internal,
    /// A tap interface as for `Internal`, but with an interface name of its own.
    Tap(String),
    /// Packets from a file and into a file (classic pcap).
    Pcap {
        /// The file that packets are read from, from the start on; with `None` the port receives
        /// nothing.
        input: Option<PathBuf>,
        /// The file that packets are written to, written anew; with `None` packets are thrown
        /// away.
        output: Option<PathBuf>,
    },
    /// A wire port of the FPGA card.
    Fpga {
        /// The number of the wire port, from 0.
        wire: u16,
        /// The interface that the card's model attaches this wire to. Only the model needs one: a
        /// real card has real wires.
        device: Option<String>,
    },
}

impl PortSettings {
    /// The port type's word in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            PortSettings::System { .. } => "system",
            PortSettings::Internal => "internal",
            PortSettings::Tap(_) => "tap",
            PortSettings::Pcap { .. } => "pcap",
            PortSettings::Fpga { .. } => "fpga",
        }
    }
}

/// A section `[[provider]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderSection {
    /// The hardware that the provider drives.
    pub kind: ProviderKind,
    /// `[provider.budget]`: the largest number of installs in a second; `None` is no limit.
    pub inserts_per_second: Option<u32>,
}

/// The hardware that a provider drives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProviderKind {
    /// tc flower on the system ports.
    Tc,
    /// The FPGA card.
    Fpga(Card),
}

impl ProviderKind {
    /// The provider kind's word in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            ProviderKind::Tc => "tc",
            ProviderKind::Fpga(_) => "fpga",
        }
    }
}

/// The FPGA card that a provider drives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Card {
    /// The embedded model of the card, with room for this number of megaflows at least.
    Model {
        /// Exact-match entries; `None` is the model's own number.
        entries: Option<u32>,
    },
    /// The device at this PCI address, in its long form (`0000:03:00.0`), bound to vfio-pci.
    Pci(String),
}

/// The section `[control]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// The path of the control socket. The pidfile stands beside the socket and is named by the
    /// part of the socket's file name before the first dot.
    pub socket: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Control { socket: PathBuf::from("/run/megaflow/megaflow.ctl") }
    }
}

/// The section `[http]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// The address and port that the listener binds.
    pub listen: SocketAddr,
    /// Names by which clients may address the listener, in lower case. Literal addresses,
    /// `localhost` and the machine's own name are allowed besides.
    pub hosts: Vec<String>,
}

impl Http {
    /// Makes a listener at that address without further names.
    #[must_use]
    pub fn at(listen: SocketAddr) -> Http {
        Http { listen, hosts: Vec::new() }
    }
}

/// An error in a configuration: one line that names the file, the line number if there is one,
/// and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    /// `FILE` or `FILE:LINE`.
    pub place: String,
    /// What is wrong, and the fix.
    pub message: String,
}

/// Reads and checks a configuration file. No other file is read, and nothing is changed.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let text = crate::text::read(path).map_err(|error| ConfigError {
        place: name.clone(),
        message: format!("can't be read: {error}"),
    })?;
    parse(&name, &text)
}

/// Reads and checks the text of a configuration file; `name` stands for the file in errors.
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigError> {
    let source = section::Source { name, text };
    let config = read::config(source)?;
    check::check(&config, source)?;
    Ok(config)
}
