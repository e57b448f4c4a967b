//! The hosts at the ends of the card's wires.

use std::net::Ipv4Addr;

use flow::MacAddr;
use hostdp::port::system::SystemPort;
use hostdp::port::{Batch, Port, Taken};
use megaflow::namespace::Namespace;
use megaflow::wire::{PortWire, WireInterface};
use vfio::Wire;

use crate::check::{Failure, Outcome, WithContext};

/// A host: a namespace whose `eth0` ends at a wire of the card.
struct Host {
    namespace: Namespace,
    /// Sees what comes in at `eth0`, and sends whole frames there.
    tap: SystemPort,
}

/// All hosts, and the card's ends of their cables.
pub(super) struct Hosts {
    hosts: Vec<Host>,
    card: Namespace,
}

impl Hosts {
    /// Host *i* has the address 10.88.0.*i*+1 and the MAC 02:4d:46:00:00:*i*+1.
    pub(super) fn new(count: u8) -> Outcome<Hosts> {
        let card = Namespace::new("card-wires", false)?;
        let mut hosts = Vec::new();
        for number in 0..count {
            let namespace = Namespace::new(&format!("card-host{number}"), false)?;
            let mac = MacAddr([2, 0x4d, 0x46, 0, 0, number.saturating_add(1)]);
            card.cable(&cable(number), &namespace, "eth0", mac)?;
            namespace.address("eth0", &[(address(number).into(), 24)])?;
            let tap = namespace.run(|| SystemPort::open("eth0").context("eth0"))?;
            hosts.push(Host { namespace, tap });
        }
        Ok(Hosts { hosts, card })
    }

    /// The wires for the card.
    pub(super) fn wires(&self) -> Outcome<Vec<Box<dyn Wire>>> {
        let mut wires: Vec<Box<dyn Wire>> = Vec::new();
        for number in (0u8..).take(self.hosts.len()) {
            let name = cable(number);
            let port = self.card.run(move || SystemPort::open(&name).context(&name))?;
            let lanes = vec![WireInterface { port: Box::new(port), vid: None }];
            let (wire, _) = PortWire::new(lanes).context("plugging a wire in")?;
            wires.push(Box::new(wire));
        }
        Ok(wires)
    }

    /// The namespace of a host.
    pub(super) fn namespace(&self, number: u8) -> Outcome<&Namespace> {
        Ok(&self.hosts.get(usize::from(number)).ok_or_else(|| no_host(number))?.namespace)
    }

    /// Lets the hosts ask for each other's addresses anew: one that has asked in vain for a while
    /// answers the next packet with an error at once.
    pub(super) fn forget_neighbours(&self) -> Outcome {
        let forget = || crate::guest::run("ip neigh flush dev eth0").map(drop);
        self.hosts.iter().try_for_each(|host| host.namespace.run(forget))
    }

    /// Sends a frame as it is from a host.
    pub(super) fn send(&mut self, number: u8, frame: &[u8]) -> Outcome {
        let host = self.hosts.get_mut(usize::from(number)).ok_or_else(|| no_host(number))?;
        let mut report = hostdp::port::TxReport::default();
        host.tap.transmit(&mut vec![flow::packet::Packet::new(frame)], &mut report);
        match report.dropped.first() {
            None => Ok(()),
            Some((reason, _)) => Err(Failure::new(format!("not sent: {}", reason.name()))),
        }
    }

    /// Forgets what the hosts have received.
    pub(super) fn drain(&mut self) -> Outcome {
        self.hosts.iter_mut().for_each(|host| drain(&mut host.tap));
        Ok(())
    }

    /// The frames that a host has received since the last call.
    pub(super) fn received(&mut self, number: u8) -> Outcome<Vec<Vec<u8>>> {
        let host = self.hosts.get_mut(usize::from(number)).ok_or_else(|| no_host(number))?;
        let mut frames = Vec::new();
        loop {
            let mut batch = Batch::new();
            host.tap.receive(&mut batch);
            if batch.is_empty() {
                return Ok(frames);
            }
            let Taken { frames: received, pool, .. } = batch.take();
            for frame in received {
                pool.finish(frame.packet, |whole| frames.push(whole.bytes().to_vec()));
            }
        }
    }
}

/// Throws the waiting frames of a tap away.
fn drain(tap: &mut SystemPort) {
    let mut batch = Batch::new();
    loop {
        tap.receive(&mut batch);
        if batch.is_empty() {
            return;
        }
        batch.take();
    }
}

/// The card's end of a host's cable.
fn cable(number: u8) -> String {
    format!("wire{number}")
}

/// The address of a host.
pub(super) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, 0, number.saturating_add(1))
}

fn no_host(number: u8) -> Failure {
    Failure::new(format!("there is no host {number}"))
}
