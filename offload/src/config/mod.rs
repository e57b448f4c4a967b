//! `megaflow.toml`: what it says, checked.
//!
//! One file per idea: `keys` is the table of all keys, `section` walks the text and knows lines
//! and unknown keys, `read` turns sections into the types below, `check` looks at what no section
//! sees alone.

mod check;
pub mod keys;
mod read;
mod section;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use flow::PortId;

/// A configuration that makes sense in itself. Whether its devices exist is found out at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The datapath.
    pub datapath: Datapath,
    /// Its ports, in the order of the file.
    pub ports: Vec<Port>,
    /// The hardware providers, in the order of the file: at most one of each kind.
    pub providers: Vec<Provider>,
    /// The MAC-learning switch, where it is the client.
    pub l2: L2,
    /// The control socket.
    pub control: Control,
    /// Where the HTTP listener listens; `None` without `[http]`.
    pub http: Option<Http>,
}

/// `[datapath]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datapath {
    /// Its name.
    pub name: String,
    /// The CPU core of the forwarding thread; `None` leaves it to the kernel.
    pub worker: Option<usize>,
    /// Who answers upcalls.
    pub client: ClientKind,
}

/// Who answers upcalls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientKind {
    /// The MAC-learning switch.
    L2,
    /// Nobody: megaflows come over the control socket only.
    None,
}

impl ClientKind {
    /// Its word in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClientKind::L2 => "l2",
            ClientKind::None => "none",
        }
    }
}

/// `[l2]`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L2 {
    /// Addresses that are known at once.
    pub mac_table_size: u32,
    /// Seconds for which an address that is not seen stays known.
    pub mac_aging_time: u32,
}

impl Default for L2 {
    /// OVS's own defaults.
    fn default() -> L2 {
        L2 { mac_table_size: 8192, mac_aging_time: 300 }
    }
}

/// `[[port]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its number in megaflows: `number`, or its place in the file, from 1.
    pub id: PortId,
    /// Its name, unique.
    pub name: String,
    /// What it is.
    pub kind: PortKind,
}

/// What a port is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortKind {
    /// An interface that exists.
    System(Device),
    /// A tap interface that is made at start, is up, and goes away at the end; named like the
    /// port.
    Internal,
    /// The same with an interface name of its own.
    Tap(String),
    /// Packets from a file and into a file (classic pcap).
    Pcap {
        /// Read from the start on; `None` receives nothing.
        input: Option<PathBuf>,
        /// Written anew; `None` throws packets away.
        output: Option<PathBuf>,
    },
    /// A wire port of the FPGA card.
    Fpga {
        /// Which, from 0.
        wire: u16,
        /// The interface that the card's model attaches this wire to. Only with the model: a
        /// real card has real wires.
        device: Option<String>,
    },
}

impl PortKind {
    /// Its word in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            PortKind::System(_) => "system",
            PortKind::Internal => "internal",
            PortKind::Tap(_) => "tap",
            PortKind::Pcap { .. } => "pcap",
            PortKind::Fpga { .. } => "fpga",
        }
    }
}

/// How an interface is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// By its name.
    Name(String),
    /// By what a switchdev NIC says of its representor.
    Representor {
        /// `phys_switch_id`, lower-case hex.
        switch_id: String,
        /// `phys_port_name`, such as `pf0vf0`.
        phys_port_name: String,
    },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Name(name) => f.write_str(name),
            Device::Representor { switch_id, phys_port_name } => {
                write!(f, "{phys_port_name} of switch {switch_id}")
            }
        }
    }
}

/// `[[provider]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provider {
    /// What it drives.
    pub kind: ProviderKind,
    /// `[provider.budget]`: at most so many installs in a second; `None` is without limit.
    pub inserts_per_second: Option<u32>,
}

/// What a provider drives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProviderKind {
    /// tc flower on the system ports.
    Tc,
    /// The FPGA card.
    Fpga(Card),
}

impl ProviderKind {
    /// Its word in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            ProviderKind::Tc => "tc",
            ProviderKind::Fpga(_) => "fpga",
        }
    }
}

/// Which card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Card {
    /// The embedded model.
    Model,
    /// The device at this PCI address, in its long form (`0000:03:00.0`), bound to vfio-pci.
    Pci(String),
}

/// `[control]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// The control socket. Its pidfile stands beside it, named by the part of the file name
    /// before the first dot.
    pub socket: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Control { socket: PathBuf::from("/run/megaflow/megaflow.ctl") }
    }
}

/// `[http]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names by which clients may ask for it, besides literal addresses, `localhost` and the
    /// machine's own; lower case.
    pub hosts: Vec<String>,
}

impl Http {
    /// Listens there and has no further names.
    #[must_use]
    pub fn at(listen: SocketAddr) -> Http {
        Http { listen, hosts: Vec::new() }
    }
}

/// What is wrong with a configuration: one line that names the file, the line where there is one,
/// and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    /// `FILE` or `FILE:LINE`.
    pub place: String,
    /// What is wrong, with the fix.
    pub message: String,
}

/// Reads and checks a configuration file. Nothing else is read, nothing is changed.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let text = crate::text::read(path).map_err(|error| ConfigError {
        place: name.clone(),
        message: format!("can't be read: {error}"),
    })?;
    parse(&name, &text)
}

/// The same for a text; `name` stands for the file in errors.
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigError> {
    let source = section::Source { name, text };
    let config = read::config(source)?;
    check::check(&config, source)?;
    Ok(config)
}
