//! Executes actions on groups of packets: each action on all packets before the next action, so
//! that the frames of a recirculation are sent before those of later actions, as in OVS.

use flow::conservation::Ways;
use flow::packet::{self, Packet};
use flow::{Action, Counters, Key, Moment, PortId, RecircId, UpcallReason, Userspace};

use super::{Datapath, ETHERNET_HEADER, InFlight, Origin};
use crate::drops::DropReason;
use crate::hash::split_mix;
use crate::upcall::Upcall;

impl Datapath {
    /// Carries out a list of actions on packets that were counted before.
    pub(super) fn execute_list(
        &mut self,
        actions: &[Action],
        mut packets: Vec<InFlight>,
        depth: usize,
        now: Moment,
    ) {
        let mut ways = Ways::new(whole(&packets));
        for (n, action) in actions.iter().enumerate() {
            let is_last = n + 1 == actions.len();
            match action {
                Action::Output(port) if is_last => {
                    ways.way(kept(&packets));
                    packets.drain(..).for_each(|packet| self.output(*port, packet.into_frame()));
                }
                Action::Output(port) => {
                    ways.way(kept(&packets));
                    packets.iter_mut().for_each(|packet| self.output(*port, packet.frame()));
                }
                Action::Userspace(userspace) => {
                    ways.way(kept(&packets));
                    packets.iter_mut().for_each(|packet| self.send_up(userspace, packet, now));
                }
                Action::Recirc(id) => {
                    ways.way(whole(&packets));
                    let copies =
                        if is_last { std::mem::take(&mut packets) } else { packets.clone() };
                    self.recirculate(*id, copies, depth, now);
                }
                Action::Trunc(max) => {
                    for packet in &mut packets {
                        let max = usize::try_from(*max).unwrap_or(usize::MAX);
                        packet.cut = packet.packet.len().saturating_sub(max);
                    }
                }
                Action::Sample { probability, actions } => {
                    let chosen = packets.iter().filter(|_| self.roll(*probability));
                    let chosen: Vec<InFlight> = chosen.cloned().collect();
                    if !chosen.is_empty() {
                        ways.copy(whole(&chosen));
                        self.execute_list(actions, chosen, depth, now);
                    }
                }
                Action::Set(_)
                | Action::PushVlan { .. }
                | Action::PopVlan
                | Action::PushMpls { .. }
                | Action::PopMpls { .. }
                | Action::Hash { .. } => {
                    for packet in &mut packets {
                        packet::edit(&mut packet.packet, &mut packet.key, action);
                    }
                }
            }
        }
        self.ends.forks += ways.end(whole(&packets));
    }

    fn recirculate(&mut self, id: RecircId, mut packets: Vec<InFlight>, depth: usize, now: Moment) {
        packets.retain_mut(|packet| {
            let reason = match self.credits.get_mut(packet.credit) {
                _ if depth >= self.config.recirc_limit => DropReason::RecircLimit,
                Some(credit) if *credit > 0 => {
                    *credit -= 1;
                    packet.cut = 0;
                    packet.key = Key {
                        in_port: packet.key.in_port,
                        dp_hash: packet.key.dp_hash,
                        recirc_id: id.0,
                        ..packet.packet.extract()
                    };
                    return true;
                }
                _ => DropReason::DeferredLimit,
            };
            let what = Counters::packet(packet.packet.len());
            self.drop_packet(reason, packet.origin, packet.key.port(), what);
            false
        });
        if !packets.is_empty() {
            self.forward(packets, depth + 1, now);
        }
    }

    /// Sends a copy up; the packet goes on.
    fn send_up(&mut self, userspace: &Userspace, packet: &mut InFlight, now: Moment) {
        let frame = packet.frame().bytes().to_vec();
        let (port, what) = (packet.key.port(), Counters::packet(frame.len()));
        let upcall = Upcall {
            id: None,
            port,
            key: packet.key,
            frame,
            reason: UpcallReason::Action(userspace.userdata.clone()),
            queued_at: now,
        };
        if self.upcalls.action(userspace.pid, upcall) {
            self.ends.userspace += what;
        } else {
            self.drop_packet(DropReason::UpcallQueueFull, Origin::Counted, port, what);
        }
    }

    fn output(&mut self, port: PortId, frame: Packet) {
        match self.ports.get_mut(&port) {
            Some(slot) => slot.queue(frame),
            None => {
                self.drops.count(DropReason::NoSuchPort, Counters::packet(frame.len()));
            }
        }
    }

    /// Returns true for a share of the calls: `probability` out of `u32::MAX`.
    fn roll(&mut self, probability: u32) -> bool {
        match probability {
            0 => false,
            u32::MAX => true,
            _ => split_mix(&mut self.dice) >> 32 <= u64::from(probability),
        }
    }
}

/// The packets as they are.
fn whole(packets: &[InFlight]) -> Counters {
    packets.iter().map(|packet| Counters::packet(packet.packet.len())).sum()
}

/// The packets as the next output or userspace action sends them.
fn kept(packets: &[InFlight]) -> Counters {
    packets.iter().map(|packet| Counters::packet(packet.kept())).sum()
}

impl InFlight {
    /// A copy of the frame for an output or userspace action; ends the truncation.
    fn frame(&mut self) -> Packet {
        if self.cut == 0 {
            return self.packet.clone();
        }
        let keep = self.kept();
        self.cut = 0;
        Packet::new(&self.packet.bytes()[..keep])
    }

    fn into_frame(mut self) -> Packet {
        if self.cut == 0 { self.packet } else { self.frame() }
    }

    /// Length after the truncation: at least the Ethernet header stays.
    fn kept(&self) -> usize {
        let whole = self.packet.len();
        whole.saturating_sub(self.cut).max(ETHERNET_HEADER).min(whole)
    }
}
