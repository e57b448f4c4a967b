//! Executes actions on groups of packets: each action on all packets before the next action, so
//! that the frames of a recirculation are sent before those of later actions, as in OVS.

use std::sync::Arc;

use flow::conservation::Ways;
use flow::hash::split_mix;
use flow::packet::Packet;
use flow::{Action, Counters, Key, Moment, PortId, RecircId, UpcallReason, Userspace};

use super::books::DatapathBooks;
use super::in_flight::{Flights, InFlight};
use super::ports::Ports;
use crate::drops::DropReason;
use crate::ledger::Origin;
use crate::port::{Frame, PacketPool};
use crate::program::{Program, Step};
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
    program: Arc<Program>,
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
    /// The memory of packets that have come to their end.
    pub(super) pool: &'a mut PacketPool,
}

/// The numbers of packets that are to be looked up again, and their recirculations so far.
pub(super) struct Recirculated {
    pub(super) packets: Vec<usize>,
    pub(super) depth: usize,
}

/// What an action leads to before the next one.
enum Then {
    Nothing,
    /// This is executed on copies.
    Nested(Arc<Program>, Vec<usize>),
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
        self.flights.add(InFlight::new(packet, key, origin, credit))
    }

    /// Takes a frame in that came in by a port; returns its number.
    #[inline]
    pub(super) fn arrive(&mut self, frame: Frame, port: PortId, origin: Origin) -> usize {
        let credit = self.credits.len();
        self.credits.push(self.deferred_limit);
        self.flights.arrive(frame, port, origin, credit)
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

    /// The packets of these numbers have come to their end.
    pub(super) fn end(&mut self, numbers: Vec<usize>, pool: &mut PacketPool) {
        self.flights.end(&numbers, pool);
        self.keep(numbers);
    }

    /// Adds a list of actions on packets that were counted before, as `what`. It is executed before
    /// the lists that were added earlier.
    pub(super) fn push(
        &mut self,
        program: Arc<Program>,
        packets: Vec<usize>,
        what: Counters,
        depth: usize,
    ) {
        self.lists.push(List { program, next: 0, packets, depth, ways: Ways::new(what) });
    }

    /// Executes until packets have to be looked up again, or until nothing is left to do. The
    /// caller pushes what the lookup finds, and calls again.
    pub(super) fn run(&mut self, exits: &mut Exits<'_>, now: Moment) -> Option<Recirculated> {
        while let Some(mut list) = self.lists.pop() {
            match self.step(&mut list, exits, now) {
                None => {
                    exits.books.forked(list.ways.end(self.flights.whole(&list.packets)));
                    self.end(list.packets, exits.pool);
                }
                Some(then) => {
                    let depth = list.depth;
                    self.lists.push(list);
                    match then {
                        Then::Nothing => {}
                        Then::Nested(program, packets) => {
                            let what = self.flights.whole(&packets);
                            self.push(program, packets, what, depth);
                        }
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
        while let Some((step, is_last)) = list.program.step(list.next) {
            list.next += 1;
            if is_per_packet(&step) {
                self.finish(packets, exits.pool);
            }
            let flights = &mut self.flights;
            let action = match step {
                Step::Rewrite(rewrite) => {
                    flights.for_each(packets, |packet| packet.rewrite(rewrite));
                    continue;
                }
                Step::Sample(probability, program) => {
                    let dice = &mut self.dice;
                    let is_chosen = |_: &usize| roll(dice, probability);
                    let chosen: Vec<usize> = packets.iter().copied().filter(is_chosen).collect();
                    if chosen.is_empty() {
                        continue;
                    }
                    let chosen = flights.copies(&chosen, exits.pool);
                    ways.copy(flights.whole(&chosen));
                    return Some(Then::Nested(program.clone(), chosen));
                }
                Step::Plain(action) => action,
            };
            match action {
                Action::Output(port) => {
                    ways.way(exits.output(*port, flights, packets, is_last));
                    if is_last {
                        packets.clear();
                    }
                }
                Action::Userspace(userspace) => {
                    ways.way(flights.kept(packets));
                    flights.for_each(packets, |packet| exits.send_up(userspace, packet, now));
                }
                Action::Recirc(id) => {
                    ways.way(flights.whole(packets));
                    let copies = match is_last {
                        true => std::mem::take(packets),
                        false => flights.copies(packets, exits.pool),
                    };
                    return Some(self.recirculate(*id, copies, list.depth, exits));
                }
                Action::Trunc(max) => flights.for_each(packets, |packet| packet.truncate(*max)),
                Action::Set(_)
                | Action::Sample { .. }
                | Action::PushVlan { .. }
                | Action::PopVlan
                | Action::PushMpls { .. }
                | Action::PopMpls { .. }
                | Action::Hash { .. } => flights.for_each(packets, |packet| packet.edit(action)),
            }
        }
        None
    }

    /// Puts the packets that unfinished frames are on a wire in the place of these frames.
    fn finish(&mut self, numbers: &mut Vec<usize>, pool: &mut PacketPool) {
        if self.flights.of(numbers).all(|packet| packet.packet.unfinished().is_none()) {
            return;
        }
        for number in std::mem::take(numbers) {
            let Some(packet) = self.flights.get_mut(number) else { continue };
            let (key, origin) = (packet.key, packet.origin);
            // Each may recirculate as often as if it had come in by itself.
            let credit = self.credits.get(packet.credit).copied().unwrap_or_default();
            pool.finish(std::mem::take(&mut packet.packet), |whole| {
                self.credits.push(credit);
                let credit = self.credits.len() - 1;
                let whole = InFlight::segment(whole, key, origin, credit);
                numbers.push(self.flights.add(whole));
            });
        }
    }

    fn recirculate(
        &mut self,
        id: RecircId,
        mut packets: Vec<usize>,
        depth: usize,
        exits: &mut Exits<'_>,
    ) -> Then {
        packets.retain(|number| {
            let Some(packet) = self.flights.get_mut(*number) else { return false };
            let reason = match self.credits.get_mut(packet.credit) {
                _ if depth >= self.recirc_limit => DropReason::RecircLimit,
                Some(credit) if *credit > 0 => {
                    *credit -= 1;
                    packet.recirculated(id.0);
                    return true;
                }
                _ => DropReason::DeferredLimit,
            };
            exits.books.dropped(packet.key.port(), reason, packet.origin, packet.whole());
            exits.pool.keep(std::mem::take(&mut packet.packet));
            false
        });
        if packets.is_empty() {
            return Then::Nothing;
        }
        Then::LookUp(Recirculated { packets, depth: depth + 1 })
    }
}

/// Returns true for an action that can't be executed on several packets as one unfinished frame.
fn is_per_packet(step: &Step<'_>) -> bool {
    let action = match step {
        Step::Rewrite(_) => return false,
        Step::Sample(..) => return true,
        Step::Plain(action) => action,
    };
    match action {
        Action::Userspace(_)
        | Action::Trunc(_)
        | Action::Sample { .. }
        // The kernel's segments have no labels.
        | Action::PushMpls { .. }
        | Action::PopMpls { .. } => true,
        Action::Output(_)
        | Action::Recirc(_)
        | Action::Set(_)
        | Action::PushVlan { .. }
        | Action::PopVlan
        | Action::Hash { .. } => false,
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
    /// Queues packets, or copies of them, to be sent by a port. Returns what that is.
    fn output(
        &mut self,
        port: PortId,
        flights: &mut Flights,
        packets: &[usize],
        is_last: bool,
    ) -> Counters {
        let mut what = Counters::default();
        let pool = &mut *self.pool;
        let Some(queue) = self.ports.queue(port) else {
            what = flights.kept(packets);
            flights.for_each(packets, |packet| packet.cut = 0);
            if is_last {
                flights.end(packets, pool);
            }
            self.books.not_sent(port, DropReason::NoSuchPort, what);
            return what;
        };
        queue.reserve(packets.len());
        flights.for_each(packets, |packet| {
            let frame = match is_last {
                true => packet.take_frame(pool),
                false if packet.cut == 0 => pool.copy(&packet.packet),
                false => pool.packet(packet.frame()),
            };
            what.gather(frame.counters());
            queue.push(frame);
        });
        what
    }

    /// Sends a copy up; the packet goes on.
    fn send_up(&mut self, userspace: &Userspace, packet: &mut InFlight, now: Moment) {
        let frame = packet.frame().to_vec();
        let (port, what) = (packet.key.port(), Counters::packet(frame.len()));
        let upcall = QueuedUpcall {
            id: None,
            port,
            key: *packet.key(),
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
