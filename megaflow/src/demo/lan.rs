//! The demo's hosts and the cables to the card.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fmt, io};

use flow::MacAddr;
use hostdp::port::Port;
use hostdp::port::system::SystemPort;

use crate::namespace::Namespace;
use crate::wire::WireInterface;

/// Number of hosts.
pub(super) const HOSTS: u8 = 3;
/// The VLAN of the hosts' second interfaces.
pub(super) const VLAN: u16 = 10;

/// A host: a namespace with an interface in no VLAN and one in [`VLAN`].
pub(super) struct Host {
    pub(super) number: u8,
    pub(super) namespace: Namespace,
}

/// Selects one of a host's addresses.
#[derive(Clone, Copy)]
pub(super) enum Net {
    V4,
    V6,
    Vlan,
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Net::V4 => f.write_str("IPv4"),
            Net::V6 => f.write_str("IPv6"),
            Net::Vlan => write!(f, "VLAN {VLAN}"),
        }
    }
}

impl Host {
    /// An address of the host.
    pub(super) fn address(&self, net: Net) -> IpAddr {
        match net {
            Net::V4 => Ipv4Addr::new(10, 77, 0, self.number).into(),
            Net::V6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.number.into()).into(),
            Net::Vlan => Ipv4Addr::new(10, 77, 10, self.number).into(),
        }
    }
}

/// The hosts, and the switch's side of their cables.
pub(super) struct Lan {
    pub(super) hosts: Vec<Host>,
    /// Keeps the switch's ends of the cables alive.
    switch: Namespace,
}

fn mac(vlan: u8, host: u8) -> MacAddr {
    MacAddr([0x02, 0x4d, 0x46, 0, vlan, host])
}

impl Lan {
    /// Makes the hosts and their cables; fails where namespaces are not allowed.
    pub(super) fn new() -> io::Result<Lan> {
        let switch = Namespace::new("demo-switch", false)?;
        let mut hosts = Vec::new();
        for number in 1..=HOSTS {
            let namespace = Namespace::new(&format!("demo-host{number}"), true)?;
            let host = Host { number, namespace };
            let plain = [(host.address(Net::V4), 24), (host.address(Net::V6), 64)];
            let vlan = [(host.address(Net::Vlan), 24)];
            switch.cable(&format!("h{number}"), &host.namespace, "eth0", mac(0, number))?;
            switch.cable(&format!("h{number}v"), &host.namespace, "vlan10", mac(10, number))?;
            host.namespace.address("eth0", &plain)?;
            host.namespace.address("vlan10", &vlan)?;
            hosts.push(host);
        }
        Ok(Lan { hosts, switch })
    }

    /// The switch's end of a host's cables, as lanes of one wire.
    pub(super) fn lanes(&self, number: u8) -> io::Result<Vec<WireInterface>> {
        let open = |name: String| -> io::Result<Box<dyn Port>> {
            self.switch.run(move || {
                let port = SystemPort::open(&name).map_err(io::Error::other)?;
                Ok(Box::new(port) as Box<dyn Port>)
            })
        };
        Ok(vec![
            WireInterface { port: open(format!("h{number}"))?, vid: None },
            WireInterface { port: open(format!("h{number}v"))?, vid: Some(VLAN) },
        ])
    }
}
