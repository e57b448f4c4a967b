//! A switchdev NIC on the imitation of the kernel: it forwards packets by the filters that it has.

use std::collections::{BTreeMap, HashMap};

use flow::packet::extract;
use flow::{Action, Clock, Counters, Key, Megaflow, PortId};

use super::filter::Use;
use super::{FakeKernel, Socket};
use crate::decode::Filter;
use crate::device::DeviceSelector;
use crate::encode::Location;
use crate::netlink::{RequestSocket, Writer};
use crate::provider::{TcOptions, TcProvider};
use crate::translate::{PortDevice, Target};

const SWITCH: [u8; 2] = [0xab, 0xcd];
/// The interface of a port has the port's number and this.
const INTERFACES: u32 = 10;

/// The NIC. Its ports have the numbers from 1 on.
pub struct FakeNic {
    kernel: FakeKernel,
    clock: Clock,
    target: Target,
    ports: BTreeMap<u32, PortId>,
    /// What filters stand for, by place and the cookie's bytes.
    decoded: HashMap<(Location, Vec<u8>), Megaflow>,
    hits: Counters,
}

impl FakeNic {
    /// Makes a NIC with that many ports and room for that many filters.
    #[must_use]
    pub fn new(ports: u32, capacity: usize, clock: Clock) -> FakeNic {
        let name = |number: u32| format!("pf0vf{number}");
        let links = (1..=ports).map(|number| {
            (INTERFACES + number, name(number), Some(SWITCH.to_vec()), Some(name(number)))
        });
        let kernel = FakeKernel::with(links.collect(), capacity);
        let device = |number: u32| PortDevice {
            ifindex: INTERFACES + number,
            name: name(number),
            switch_id: "abcd".to_owned(),
        };
        let devices = (1..=ports).map(|number| (PortId(number), device(number)));
        FakeNic {
            kernel,
            clock,
            target: Target { ports: devices.collect(), recirculation: false },
            ports: (1..=ports).map(|number| (INTERFACES + number, PortId(number))).collect(),
            decoded: HashMap::new(),
            hits: Counters::default(),
        }
    }

    /// Opens the provider of the NIC.
    #[must_use]
    pub fn provider(&self) -> TcProvider<Socket> {
        let by_name = |device: &PortDevice| DeviceSelector::Name(device.name.clone());
        let ports = self.target.ports.iter().map(|(port, device)| (*port, by_name(device)));
        let ports: Vec<(PortId, DeviceSelector)> = ports.collect();
        let (client, monitor) = (RequestSocket::new(self.kernel.socket(1)), self.kernel.monitor(2));
        let clock = self.clock.clone();
        TcProvider::over(client, monitor, &ports, clock, TcOptions::default()).unwrap()
    }

    /// Takes a packet in by a port. Returns the ports by which it goes out; `None` if no filter
    /// matches, so that it comes up to the host.
    pub fn receive(&mut self, port: PortId, frame: &[u8]) -> Option<Vec<PortId>> {
        let key = Key { in_port: port.0, ..extract(frame) };
        let mut state = self.kernel.lock();
        let from = Location::first_on(INTERFACES + port.0);
        let on = state.filters.range_mut(from..);
        for (at, stored) in on.take_while(|(at, _)| at.ifindex == from.ifindex) {
            let named = (*at, stored.cookie()?);
            let flow = self.decoded.entry(named).or_insert_with(|| {
                let mut shown = Writer::default();
                stored.show(&mut shown, *at);
                let filter = Filter::parse(shown.as_bytes()).unwrap().unwrap();
                let cookie = filter.summary().unwrap().cookie.unwrap();
                filter.megaflow(&cookie, &self.ports, &self.target).unwrap().0
            });
            if flow.matching.hits(&key) {
                stored.packets += 1;
                stored.bytes += frame.len() as u64;
                stored.last_use = Some(Use { clock: self.clock.clone(), at: self.clock.now() });
                self.hits += Counters::packet(frame.len());
                let outputs = flow.actions.iter().filter_map(|action| match action {
                    Action::Output(port) => Some(*port),
                    _ => None,
                });
                return Some(outputs.collect());
            }
        }
        None
    }

    /// The packets that hit a filter.
    #[must_use]
    pub fn hits(&self) -> Counters {
        self.hits
    }

    /// The number of filters.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.kernel.lock().filters.len()
    }

    /// The next answer of the kernel to a request is lost.
    pub fn lose_an_answer(&self) {
        self.kernel.lock().lose_acks = 1;
    }

    /// The kernel marks the next list of filters as interrupted by changes.
    pub fn interrupt_a_list(&self) {
        self.kernel.lock().interrupt = 1;
    }
}
