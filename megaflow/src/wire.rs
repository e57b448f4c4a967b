//! What the embedded card's wires are plugged into: ports of the host datapath's own kinds
//! (network interfaces, captures, memory). Several ports can share one wire if VLANs tell them
//! apart.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flow::packet::{self, Packet};
use flow::{Action, Clock, Counters, Moment, VLAN_PRESENT};
use hostdp::drops::DropReason;
use hostdp::port::fpga::{Plug, PlugState};
use hostdp::port::{Batch, LinkState, Port, TxReport};
use rustix::event::epoll;
use vfio::Wire;
use vfio::model::Unsent;

/// One interface on a wire.
pub struct WireInterface {
    /// The interface.
    pub port: Box<dyn Port>,
    /// The interface's VLAN. Frames get this tag on the way to the wire and lose it on the way
    /// back, as at an access port of a switch. With `None`, frames pass unchanged.
    pub vid: Option<u16>,
}

/// A handle on a wire that a card owns.
#[derive(Clone, Default)]
pub struct WireHandle {
    closed: Arc<AtomicBool>,
    plug: Plug,
}

impl WireHandle {
    /// Passes no more frames to the card. Frames that come later stay in the interfaces.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The state of the wire's interfaces, for the wire's `fpga` port.
    #[must_use]
    pub fn plug(&self) -> Plug {
        self.plug.clone()
    }
}

/// A wire with interfaces on it.
pub struct PortWire {
    lanes: Vec<WireInterface>,
    handle: WireHandle,
    ready: OwnedFd,
    batch: Batch,
    received: VecDeque<Packet>,
    current: Option<Packet>,
    to_send: Vec<Vec<Packet>>,
    /// Frames that the interfaces lost, or could not give whole, since the card last asked.
    lost: Counters,
    checked: Moment,
    clock: Clock,
}

/// Bytes of a VLAN tag.
const TAG: u64 = 4;
/// Interval between two checks of the interfaces.
const CHECK: Duration = Duration::from_millis(250);

impl PortWire {
    /// Plugs the interfaces into a wire. A frame whose VLAN belongs to no lane goes to the first
    /// lane.
    pub fn new(lanes: Vec<WireInterface>) -> io::Result<(PortWire, WireHandle)> {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, lane) in (0..).zip(&lanes) {
            if let Some(fd) = lane.port.readable() {
                let data = epoll::EventData::new_u64(number);
                epoll::add(&ready, fd, data, epoll::EventFlags::IN)?;
            }
        }
        let handle = WireHandle::default();
        let wire = PortWire {
            to_send: lanes.iter().map(|_| Vec::new()).collect(),
            lanes,
            handle: handle.clone(),
            ready,
            batch: Batch::new(),
            received: VecDeque::new(),
            current: None,
            lost: Counters::default(),
            checked: Moment::default(),
            clock: Clock::start(),
        };
        wire.tell();
        Ok((wire, handle))
    }

    /// Tells the wire's `fpga` port the state of the interfaces: the first state that is not up,
    /// or the first trouble.
    fn tell(&self) {
        let seen = || self.lanes.iter().map(|lane| PlugState::of(&*lane.port));
        let worst = seen().find(|lane| lane.state != LinkState::Up);
        let told = worst.or_else(|| seen().find(|lane| lane.trouble.is_some()));
        let mtu = seen().filter_map(|lane| lane.mtu).min();
        self.handle.plug.tell(PlugState { mtu, ..told.unwrap_or_default() });
    }

    fn poll(&mut self) {
        let now = self.clock.now();
        let is_due = now.since(self.checked) >= CHECK;
        if is_due {
            self.checked = now;
        }
        for lane in &mut self.lanes {
            if is_due {
                lane.port.check();
                self.lost += Counters { packets: lane.port.overruns(), bytes: 0 };
            }
            lane.port.receive(&mut self.batch);
            if self.batch.is_empty() {
                lane.port.arm();
            }
            let taken = self.batch.take();
            for frame in taken.frames {
                let received = &mut self.received;
                taken.pool.finish(frame.packet, |whole| {
                    received.push_back(tagged(whole, lane.vid));
                });
            }
            self.lost += taken.dropped.map(|(_, counters)| counters).sum();
        }
        if is_due {
            self.tell();
        }
    }
}

fn tagged(mut packet: Packet, vid: Option<u16>) -> Packet {
    if let Some(vid) = vid {
        let mut key = packet::extract(packet.bytes());
        let tag = Action::PushVlan { tpid: 0x8100, tci: vid | VLAN_PRESENT };
        packet::edit(&mut packet, &mut key, &tag);
    }
    packet
}

impl Wire for PortWire {
    fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        if self.received.is_empty() && !self.handle.closed.load(Ordering::Relaxed) {
            self.poll();
        }
        if let Some(read) = self.current.take() {
            self.batch.take().pool.keep(read);
        }
        self.current = self.received.pop_front();
        Ok(self.current.as_ref().map(Packet::bytes))
    }

    fn lost(&mut self) -> Counters {
        std::mem::take(&mut self.lost)
    }

    fn transmit(&mut self, frame: &[u8]) -> io::Result<bool> {
        let mut packet = Packet::new(frame);
        let mut key = packet::extract(frame);
        let vid = (key.vlan_tci & VLAN_PRESENT != 0).then_some(key.vlan_tci & 0xfff);
        let tagged = self.lanes.iter().position(|lane| vid.is_some() && lane.vid == vid);
        if tagged.is_some() {
            packet::edit(&mut packet, &mut key, &Action::PopVlan);
        }
        let number = tagged.unwrap_or(0);
        let (Some(lane), Some(frames)) = (self.lanes.get(number), self.to_send.get_mut(number))
        else {
            return Ok(false);
        };
        if lane.port.state() != LinkState::Up {
            return Ok(false);
        }
        frames.push(packet);
        Ok(true)
    }

    fn is_up(&self) -> bool {
        let up = self.lanes.iter().all(|lane| lane.port.state() == LinkState::Up);
        if !up {
            // The `fpga` port learns the reason before the card's link register says that the
            // link is down.
            self.tell();
        }
        up
    }

    fn flush(&mut self) -> io::Result<Unsent> {
        let mut unsent = Unsent::default();
        for (lane, frames) in self.lanes.iter_mut().zip(&mut self.to_send) {
            if frames.is_empty() {
                continue;
            }
            let mut report = TxReport::default();
            lane.port.transmit(frames, &mut report);
            frames.clear();
            for (reason, mut what) in report.dropped {
                if lane.vid.is_some() {
                    // Bytes count as the card gave the frames, with the lane's tag.
                    what.bytes += TAG * what.packets;
                }
                match reason {
                    DropReason::TxTooLong => unsent.too_long += what,
                    _ => unsent.refused += what,
                }
            }
        }
        Ok(unsent)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        let closed = self.handle.closed.load(Ordering::Relaxed);
        let polled = self.lanes.iter().any(|lane| lane.port.readable().is_none());
        (!closed && !polled).then(|| self.ready.as_fd())
    }
}
