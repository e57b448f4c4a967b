//! Turns the sections of the file into the types of the configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use flow::PortId;
use hostdp::port::system::SystemIo;
use pipeline::l2::L2Settings;
use tc_flower::DeviceSelector;
use toml::de::DeTable;

use super::section::{Section, Source, nearest};
use super::{
    Card, ClientKind, Config, ConfigError, Control, DatapathSection, Http, PortSection,
    PortSettings, ProviderKind, ProviderSection,
};

/// The highest port number. Port numbers have 16 bits in OVS, and the highest ones are reserved.
const LAST_PORT: u64 = 0xfeff;
/// The largest number of forwarding threads: each has a copy of the table.
const MOST_WORKERS: usize = 64;
/// The highest core that a CPU mask of the kernel's default size can name.
const LAST_CORE: u64 = 1023;
/// The longest interface name in bytes: `IFNAMSIZ` less the final zero.
const INTERFACE_NAME: usize = 15;

const BUILT_PORTS: [&str; 5] = ["system", "internal", "tap", "pcap", "fpga"];
const LATER_PORTS: [&str; 4] = ["patch", "vxlan", "geneve", "gre"];

pub(super) fn config(source: Source<'_>) -> Result<Config, ConfigError> {
    let table = DeTable::parse(source.text).map_err(|error| {
        let message = error.message().replace('\n', " ");
        match error.span() {
            Some(at) => source.error(&at, message),
            None => source.whole(message),
        }
    })?;
    let root = Section::root(source, &table)?;
    let datapath = match root.section("datapath", "[datapath]")? {
        Some(section) => datapath(&section)?,
        None => return Err(source.whole("the section [datapath] is missing")),
    };
    let ports = root.sections("port", "[[port]]")?;
    let ports = ports.iter().enumerate().map(|(place, section)| port(section, place));
    let ports = ports.collect::<Result<_, _>>()?;
    let providers = root.sections("provider", "[[provider]]")?;
    let providers = providers.iter().map(provider).collect::<Result<_, _>>()?;
    let l2 = match root.section("l2", "[l2]")? {
        Some(section) if datapath.client == ClientKind::L2 => l2(&section)?,
        Some(section) => {
            let message =
                format!("is for client = \"l2\", but client is \"{}\"", datapath.client.name());
            return Err(section.whole(message));
        }
        None => L2Settings::default(),
    };
    let control = match root.section("control", "[control]")? {
        Some(section) => control(&section)?,
        None => Control::default(),
    };
    let http = root.section("http", "[http]")?.map(|section| http(&section)).transpose()?;
    Ok(Config { datapath, ports, providers, l2, control, http })
}

fn http(section: &Section<'_>) -> Result<Http, ConfigError> {
    let text = section.need("listen", section.string("listen")?)?;
    let listen = text
        .parse()
        .map_err(|_| section.error("listen", format_args!("'{text}': expected ADDRESS:PORT")))?;
    let hosts = section.strings("hosts")?.unwrap_or_default();
    let is_name =
        |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if let Some(wrong) = hosts.iter().find(|host| !is_name(host)) {
        let message = format!("'{wrong}' is no host name (without a port, such as sw1.example)");
        return Err(section.error("hosts", message));
    }
    let hosts = hosts.into_iter().map(str::to_ascii_lowercase).collect();
    Ok(Http { listen, hosts })
}

/// Reads `[l2]`. The ranges are OVS's.
fn l2(section: &Section<'_>) -> Result<L2Settings, ConfigError> {
    let size = section.number("mac_table_size", 10..=1_000_000)?;
    let ageing = section.number("mac_aging_time", 15..=3600)?;
    let default = L2Settings::default();
    Ok(L2Settings {
        max_entries: size.and_then(|n| usize::try_from(n).ok()).unwrap_or(default.max_entries),
        ageing: ageing.map_or(default.ageing, Duration::from_secs),
    })
}

fn workers(section: &Section<'_>) -> Result<Vec<usize>, ConfigError> {
    let Some(cores) = section.numbers("workers", 0..=LAST_CORE)? else { return Ok(Vec::new()) };
    if cores.is_empty() {
        return Err(section.error("workers", "must name a core, or be left out"));
    }
    if cores.len() > MOST_WORKERS {
        let message = format!("{} cores; at most {MOST_WORKERS} are possible", cores.len());
        return Err(section.error("workers", message));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = cores.iter().find(|core| !seen.insert(**core)) {
        return Err(section.error("workers", format!("core {twice} is there twice")));
    }
    Ok(cores.into_iter().filter_map(|core| usize::try_from(core).ok()).collect())
}

fn datapath(section: &Section<'_>) -> Result<DatapathSection, ConfigError> {
    let name = section.need("name", section.string("name")?)?;
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return Err(section.error("name", "must have letters, digits, '_', '.' and '-' only"));
    }
    let workers = workers(section)?;
    let client = match section.string("client")?.unwrap_or("l2") {
        "l2" => ClientKind::L2,
        "none" => ClientKind::None,
        "tables" => {
            return Err(section.error("client", "'tables' is not built yet; use l2 or none"));
        }
        other => {
            let message = format_args!("unknown client '{other}': expected l2 or none");
            return Err(section.error("client", message));
        }
    };
    let flow_limit = section.number("flow_limit", 1..=4_000_000)?;
    let max_idle = section.number("max_idle", 100..=3_600_000)?;
    Ok(DatapathSection {
        name: name.to_owned(),
        workers,
        client,
        flow_limit: flow_limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(200_000),
        max_idle: Duration::from_millis(max_idle.unwrap_or(10_000)),
    })
}

fn port(section: &Section<'_>, place: usize) -> Result<PortSection, ConfigError> {
    let name = section.need("name", section.string("name")?)?;
    if !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(section.error("name", "must have printable characters only, and no spaces"));
    }
    let number = match section.number("number", 0..=LAST_PORT)? {
        Some(number) => number,
        None => place as u64 + 1,
    };
    let id = PortId(u32::try_from(number).unwrap_or(u32::MAX));
    let kind = section.need("type", section.string("type")?)?;
    let not_files = |kind: &str| section.without(&["in", "out"], &format!("not for type {kind}"));
    let no_wire = |kind: &str| section.without(&["wire"], &format!("not for type {kind}"));
    let kind = match kind {
        "system" => {
            not_files(kind).and(no_wire(kind))?;
            PortSettings::System { device: device(section)?, io: io(section)? }
        }
        "internal" => {
            not_files(kind).and(no_wire(kind))?;
            section.without(&["device"], "an internal port's interface is named like the port")?;
            interface(section, "name", name)?;
            PortSettings::Internal
        }
        "tap" => {
            not_files(kind).and(no_wire(kind))?;
            let device = section.string("device")?;
            let key = if device.is_some() { "device" } else { "name" };
            PortSettings::Tap(interface(section, key, device.unwrap_or(name))?)
        }
        "pcap" => {
            section.without(&["device", "wire"], "not for type pcap: use 'in' and 'out'")?;
            let input = section.string("in")?.map(PathBuf::from);
            let output = section.string("out")?.map(PathBuf::from);
            if input.is_none() && output.is_none() {
                return Err(section.error("type", "a pcap port needs 'in', 'out' or both"));
            }
            PortSettings::Pcap { input, output }
        }
        "fpga" => {
            not_files(kind)?;
            let wire = section.need("wire", section.number("wire", 0..=u64::from(u16::MAX))?)?;
            let wire = u16::try_from(wire).unwrap_or(u16::MAX);
            let device = section.string("device")?;
            let device = device.map(|device| interface(section, "device", device)).transpose()?;
            PortSettings::Fpga { wire, device }
        }
        other => return Err(unknown_type(section, other)),
    };
    if !matches!(kind, PortSettings::System { .. }) {
        section.without(&["io"], &format!("not for type {}", kind.name()))?;
    }
    Ok(PortSection { id, name: name.to_owned(), kind })
}

fn unknown_type(section: &Section<'_>, kind: &str) -> ConfigError {
    if LATER_PORTS.contains(&kind) {
        let message = format!("'{kind}' is not built yet; there are {}", BUILT_PORTS.join(", "));
        return section.error("type", message);
    }
    let hint = match nearest(kind, &BUILT_PORTS) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("there are {}", BUILT_PORTS.join(", ")),
    };
    section.error("type", format_args!("unknown type '{kind}'; {hint}"))
}

fn io(section: &Section<'_>) -> Result<SystemIo, ConfigError> {
    match section.string("io")? {
        None | Some("packet") => Ok(SystemIo::Packet),
        Some("xdp") => Ok(SystemIo::Xdp),
        Some(other) => {
            let message = format_args!("unknown word '{other}': expected packet or xdp");
            Err(section.error("io", message))
        }
    }
}

fn device(section: &Section<'_>) -> Result<DeviceSelector, ConfigError> {
    if !section.is_table("device") {
        let name = section.need("device", section.string("device")?)?;
        return Ok(DeviceSelector::Name(interface(section, "device", name)?));
    }
    let found = section.section("device", "device")?;
    let found = section.need("device", found)?;
    let switch_id = found.need("switch_id", found.string("switch_id")?)?;
    if !switch_id.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = "only hex digits, as in /sys/class/net/IF/phys_switch_id";
        return Err(found.error("switch_id", message));
    }
    let phys_port_name = found.need("phys_port_name", found.string("phys_port_name")?)?;
    Ok(DeviceSelector::Port {
        switch_id: switch_id.to_ascii_lowercase(),
        phys_port_name: phys_port_name.to_owned(),
    })
}

/// Returns the name if it meets the kernel's rule for the names of interfaces.
fn interface(section: &Section<'_>, key: &str, name: &str) -> Result<String, ConfigError> {
    let bad = name.len() > INTERFACE_NAME
        || name == "."
        || name == ".."
        || name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace());
    if bad {
        let message = format!(
            "'{name}' is no interface name (at most {INTERFACE_NAME} bytes, no '/', ':', space)"
        );
        return Err(section.error(key, message));
    }
    Ok(name.to_owned())
}

fn provider(section: &Section<'_>) -> Result<ProviderSection, ConfigError> {
    let kind = match section.need("kind", section.string("kind")?)? {
        "tc" => {
            section
                .without(&["device", "entries"], "not for kind tc: it serves the system ports")?;
            ProviderKind::Tc
        }
        "fpga" => match section.need("device", section.string("device")?)? {
            "model" => {
                let entries = section.number("entries", 1..=4_000_000)?;
                let entries = entries.and_then(|number| u32::try_from(number).ok());
                ProviderKind::Fpga(Card::Model { entries })
            }
            address => {
                section.without(&["entries"], "for the model only; a card has its own number")?;
                ProviderKind::Fpga(Card::Pci(pci(section, address)?))
            }
        },
        other => {
            let message = format_args!("unknown provider '{other}': expected fpga or tc");
            return Err(section.error("kind", message));
        }
    };
    let budget = section.section("budget", "[provider.budget]")?;
    let inserts_per_second = match budget {
        Some(budget) => budget
            .number("inserts_per_second", 1..=u64::from(u32::MAX))?
            .and_then(|number| u32::try_from(number).ok()),
        None => None,
    };
    Ok(ProviderSection { kind, inserts_per_second })
}

/// Reads a PCI address, `[DOMAIN:]BUS:DEVICE.FUNCTION` in hex. The domain 0000 may be left out.
fn pci(section: &Section<'_>, text: &str) -> Result<String, ConfigError> {
    let long = if text.matches(':').count() == 1 { format!("0000:{text}") } else { text.into() };
    let shape = "hhhh:hh:hh.o";
    let fits = long.len() == shape.len()
        && long.bytes().zip(shape.bytes()).all(|(is, want)| match want {
            b'h' => is.is_ascii_hexdigit(),
            b'o' => (b'0'..=b'7').contains(&is),
            other => is == other,
        });
    if !fits {
        let message =
            format!("'{text}' is no PCI address such as 0000:03:00.0, and not \"model\" either");
        return Err(section.error("device", message));
    }
    Ok(long.to_ascii_lowercase())
}

fn control(section: &Section<'_>) -> Result<Control, ConfigError> {
    let Some(socket) = section.string("socket")? else { return Ok(Control::default()) };
    if !socket.starts_with('/') {
        return Err(section.error("socket", "must be an absolute path"));
    }
    if socket.ends_with('/') {
        return Err(section.error("socket", "is a folder; name the socket in it"));
    }
    Ok(Control { socket: PathBuf::from(socket) })
}
