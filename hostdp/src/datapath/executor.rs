//! Executes actions on groups of packets: each action on all packets before the next action, so
//! that the frames of a recirculation are sent before those of later actions, as in OVS.

use flow::conservation::Ways;
use flow::hash::split_mix;
use flow::packet::{self, Packet};
use flow::{Action, Actions, Counters, Key, Moment, PortId, RecircId, UpcallReason, Userspace};

use super::books::DatapathBooks;
use super::in_flight::{Flights, InFlight};
use super::ports::Ports;
use crate::drops::DropReason;
use crate::ledger::Origin;
use crate::upcall::{QueuedUpcall, Upcalls};

/// The lists of actions that are being executed, innermost last. A list that recirculates packets
/// or samples them goes on when everything that became of these packets is done.
pub(super) struct Executor {
    pub(super) flights: Flights,
    lists: Vec<List>,
    dice: u64,
    recirc_limit: usize,
    deferred_limit: usize,
    /// For each packet of the current burst the recirculations that it and its copies may still
    /// make.
    credits: Vec<usize>,
    /// Empty lists of numbers, kept for their allocations.
    spare: Vec<Vec<usize>>,
}

/// Most lists that are kept: those of a burst in which each packet has a megaflow of its own.
const SPARE: usize = 64;

/// One list of actions on a group of packets.
struct List {
    actions: Actions,
    /// The index of the next action.
    next: usize,
    /// The numbers of the packets.
    packets: Vec<usize>,
    depth: usize,
    ways: Ways,
}

/// Where the packets of a list go; the executor's caller owns all of it.
pub(super) struct Exits<'a> {
    pub(super) ports: &'a mut Ports,
    pub(super) upcalls: &'a mut Upcalls,
    pub(super) books: &'a mut DatapathBooks,
}

/// The numbers of packets that are to be looked up again, and their recirculations so far.
pub(super) struct Recirculated {
    pub(super) packets: Vec<usize>,
    pub(super) depth: usize,
}

/// What an action leads to before the next one.
enum Then {
    Nothing,
    /// These actions are executed on copies.
    Nested(Actions, Vec<usize>),
    LookUp(Recirculated),
}

impl Executor {
    pub(super) fn new(seed: u64, recirc_limit: usize, deferred_limit: usize) -> Executor {
        Executor {
            flights: Flights::default(),
            lists: Vec::new(),
            dice: seed,
            recirc_limit,
            deferred_limit,
            credits: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// A new burst begins: the packets of the last one are gone.
    pub(super) fn begin_burst(&mut self) {
        self.credits.clear();
        self.flights.clear();
    }

    /// Takes a packet of the burst in; returns its number.
    pub(super) fn start(&mut self, packet: Packet, key: Key, origin: Origin) -> usize {
        let credit = self.credits.len();
        self.credits.push(self.deferred_limit);
        self.flights.add(InFlight { packet, key, origin, credit, cut: 0 })
    }

    /// An empty list of numbers.
    pub(super) fn numbers(&mut self) -> Vec<usize> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a list of numbers back that is no longer used.
    pub(super) fn keep(&mut self, mut numbers: Vec<usize>) {
        numbers.clear();
        if self.spare.len() < SPARE && numbers.capacity() > 0 {
            self.spare.push(numbers);
        }
    }

    /// Adds a list of actions on packets that were counted before. It is executed before the lists
    /// that were added earlier.
    pub(super) fn push(&mut self, actions: Actions, packets: Vec<usize>, depth: usize) {
        let ways = Ways::new(self.flights.whole(&packets));
        self.lists.push(List { actions, next: 0, packets, depth, ways });
    }

    /// Executes until packets have to be looked up again, or until nothing is left to do. The
    /// caller pushes what the lookup finds, and calls again.
    pub(super) fn run(&mut self, exits: &mut Exits<'_>, now: Moment) -> Option<Recirculated> {
        while let Some(mut list) = self.lists.pop() {
            match self.step(&mut list, exits, now) {
                None => {
                    exits.books.forked(list.ways.end(self.flights.whole(&list.packets)));
                    self.flights.end(&list.packets);
                    self.keep(list.packets);
                }
                Some(then) => {
                    let depth = list.depth;
                    self.lists.push(list);
                    match then {
                        Then::Nothing => {}
                        Then::Nested(actions, packets) => self.push(actions, packets, depth),
                        Then::LookUp(recirculated) => return Some(recirculated),
                    }
                }
            }
        }
        None
    }

    /// Executes actions of the list up to one that leads elsewhere; `None` at the end of the list.
    fn step(&mut self, list: &mut List, exits: &mut Exits<'_>, now: Moment) -> Option<Then> {
        let (packets, ways) = (&mut list.packets, &mut list.ways);
        let flights = &mut self.flights;
        while let Some(action) = list.actions.get(list.next) {
            list.next += 1;
            let is_last = list.next == list.actions.len();
            match action {
                Action::Output(port) if is_last => {
                    ways.way(flights.kept(packets));
                    flights.for_each(packets, |packet| exits.output(*port, packet.take_frame()));
                    packets.clear();
                }
                Action::Output(port) => {
                    ways.way(flights.kept(packets));
                    flights.for_each(packets, |packet| exits.output(*port, packet.frame()));
                }
                Action::Userspace(userspace) => {
                    ways.way(flights.kept(packets));
                    flights.for_each(packets, |packet| exits.send_up(userspace, packet, now));
                }
                Action::Recirc(id) => {
                    ways.way(flights.whole(packets));
                    let copies = match is_last {
                        true => std::mem::take(packets),
                        false => packets.iter().filter_map(|n| flights.copy(*n)).collect(),
                    };
                    return Some(self.recirculate(*id, copies, list.depth, exits.books));
                }
                Action::Trunc(max) => flights.for_each(packets, |packet| packet.truncate(*max)),
                Action::Sample { probability, actions } => {
                    let dice = &mut self.dice;
                    let chosen = packets.iter().filter(|_| roll(dice, *probability));
                    let chosen: Vec<usize> = chosen.filter_map(|n| flights.copy(*n)).collect();
                    if !chosen.is_empty() {
                        ways.copy(flights.whole(&chosen));
                        return Some(Then::Nested(actions.clone(), chosen));
                    }
                }
                Action::Set(_)
                | Action::PushVlan { .. }
                | Action::PopVlan
                | Action::PushMpls { .. }
                | Action::PopMpls { .. }
                | Action::Hash { .. } => {
                    flights.for_each(packets, |packet| {
                        packet::edit(&mut packet.packet, &mut packet.key, action);
                    });
                }
            }
        }
        None
    }

    fn recirculate(
        &mut self,
        id: RecircId,
        mut packets: Vec<usize>,
        depth: usize,
        books: &mut DatapathBooks,
    ) -> Then {
        packets.retain(|number| {
            let Some(packet) = self.flights.get_mut(*number) else { return false };
            let reason = match self.credits.get_mut(packet.credit) {
                _ if depth >= self.recirc_limit => DropReason::RecircLimit,
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
            books.dropped(packet.key.port(), reason, packet.origin, packet.whole());
            packet.packet = Packet::default();
            false
        });
        if packets.is_empty() {
            return Then::Nothing;
        }
        Then::LookUp(Recirculated { packets, depth: depth + 1 })
    }
}

/// Returns true for a share of the calls: `probability` out of `u32::MAX`.
fn roll(dice: &mut u64, probability: u32) -> bool {
    match probability {
        0 => false,
        u32::MAX => true,
        _ => split_mix(dice) >> 32 <= u64::from(probability),
    }
}

impl Exits<'_> {
    fn output(&mut self, port: PortId, frame: Packet) {
        let what = Counters::packet(frame.len());
        if !self.ports.queue(port, frame) {
            self.books.not_sent(port, DropReason::NoSuchPort, what);
        }
    }

    /// Sends a copy up; the packet goes on.
    fn send_up(&mut self, userspace: &Userspace, packet: &mut InFlight, now: Moment) {
        let frame = packet.frame().bytes().to_vec();
        let (port, what) = (packet.key.port(), Counters::packet(frame.len()));
        let upcall = QueuedUpcall {
            id: None,
            port,
            key: packet.key,
            frame,
            reason: UpcallReason::Action(userspace.userdata.clone()),
            queued_at: now,
        };
        if self.upcalls.action(userspace.pid, upcall) {
            self.books.sent_up(what);
        } else {
            self.books.dropped(port, DropReason::UpcallQueueFull, Origin::Counted, what);
        }
    }
}
