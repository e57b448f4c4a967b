//! An imitation of the kernel for tests: links, one qdisc per interface, flower filters that are
//! shown as the kernel shows them (the innermost EtherType as `ETH_TYPE`, flags, statistics),
//! echoes, extended acks, notifications, changes by other tools, and faults.

mod filter;
mod hands;
mod link;
pub mod nic;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::encode::Location;
use crate::netlink::consts::*;
use crate::netlink::{Messages, TcMsg, Transport, Writer};
pub(crate) use filter::{Change, Stored};
pub(crate) use link::Link;
use link::{show_counters, show_link};

/// The state that the sockets of one imitation share.
#[derive(Default)]
pub(crate) struct FakeState {
    pub(crate) links: Vec<Link>,
    pub(crate) qdiscs: BTreeMap<u32, &'static str>,
    pub(crate) filters: BTreeMap<Location, Stored>,
    /// The largest number of `skip_sw` filters; one more is refused with ENOSPC.
    pub(crate) capacity: usize,
    /// A flower key that the driver refuses, and the text of the refusal; `refuse_action` has the
    /// same for a kind of action.
    pub(crate) refuse_key: Option<(u16, &'static str)>,
    pub(crate) refuse_action: Option<(&'static str, &'static str)>,
    /// True if filters are taken but the kernel's flags say that they are not in hardware.
    pub(crate) not_in_hw: bool,
    /// True if the kernel shows another ToS than the request had.
    pub(crate) distort: bool,
    /// The number of acks that are lost next, and whether the echoes before them are lost too.
    pub(crate) lose_acks: usize,
    pub(crate) lose_echoes: bool,
    /// The number of dumps that are marked as interrupted next.
    pub(crate) interrupt: usize,
    /// Changes that another tool makes during the next dumps, one after each listed priority. The
    /// kernel does not mark these dumps as interrupted.
    pub(crate) meanwhile: VecDeque<Change>,
    /// Each time this number of installs has passed, another tool deletes that interface's qdisc.
    pub(crate) cut: VecDeque<(usize, u32)>,
    /// Interfaces with `hw-tc-offload` off.
    pub(crate) offload_off: BTreeSet<u32>,
    /// By interface, the packets received, sent and dropped on the way out: all, then the CPU's
    /// share.
    pub(crate) counters: BTreeMap<u32, ([u64; 3], Option<[u64; 3]>)>,
    /// By interface, the counters of lost packets, by their place in `struct rtnl_link_stats64`.
    pub(crate) lost: BTreeMap<u32, BTreeMap<usize, u64>>,
    /// Interfaces that are set down.
    pub(crate) down: BTreeSet<u32>,
    /// Sockets that do not work any more.
    pub(crate) broken: BTreeSet<u32>,
    /// The number of requests of each kind so far.
    pub(crate) seen: BTreeMap<u16, usize>,
    /// True while nobody can open a socket.
    pub(crate) no_sockets: bool,
    next_port: u32,
    next_handle: u32,
    dumps: BTreeMap<u32, FilterDump>,
    queues: BTreeMap<u32, VecDeque<io::Result<Vec<u8>>>>,
    monitors: Vec<u32>,
}

/// A dump of filters on a socket. Like the kernel, it makes the next datagram when one is received,
/// and steps through the priorities by their index in the list.
struct FilterDump {
    seq: u32,
    flags: u16,
    ifindex: u32,
    /// The index of the priority that comes next, and the last handle that was shown there.
    index: usize,
    after: u32,
}

/// The largest number of filters in one datagram of a dump.
const SHOWN: usize = 40;

/// One socket of the imitation.
pub struct Socket {
    state: Arc<Mutex<FakeState>>,
    port: u32,
}

/// The imitation itself.
#[derive(Clone)]
pub(crate) struct FakeKernel(Arc<Mutex<FakeState>>);

impl FakeKernel {
    /// Makes an imitation with representors 11 and 12 of a switch and interface 13 of no switch.
    pub(crate) fn new() -> FakeKernel {
        let switch = Some(vec![0xab, 0xcd]);
        let links = vec![
            (11, "rep0".into(), switch.clone(), Some("pf0vf0".into())),
            (12, "rep1".into(), switch, Some("pf0vf1".into())),
            (13, "eth0".into(), None, None),
        ];
        FakeKernel::with(links, 1000)
    }

    /// Makes an imitation with these links and room for that many filters.
    pub(crate) fn with(links: Vec<Link>, capacity: usize) -> FakeKernel {
        let state = FakeState { links, capacity, next_port: 10_000, ..FakeState::default() };
        FakeKernel(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().unwrap()
    }

    /// Opens a socket for requests.
    pub(crate) fn socket(&self, port: u32) -> Socket {
        self.lock().queues.insert(port, VecDeque::new());
        Socket { state: Arc::clone(&self.0), port }
    }

    /// Opens a socket for notifications.
    pub(crate) fn monitor(&self, port: u32) -> Socket {
        self.lock().monitors.push(port);
        self.socket(port)
    }

    /// Sends a notification to all monitors; `port` is the socket that caused it.
    pub(crate) fn notify(&self, kind: u16, port: u32, body: impl FnOnce(&mut Writer)) {
        self.lock().notify(message(kind, 0, 0, port, body));
    }

    /// Counts packets that hit the filter.
    pub(crate) fn hit(&self, at: Location, packets: u32, bytes: u64) {
        let mut state = self.lock();
        let stored = state.filters.get_mut(&at).expect("there is such a filter");
        stored.packets += packets;
        stored.bytes += bytes;
    }

    pub(crate) fn locations(&self) -> Vec<Location> {
        self.lock().filters.keys().copied().collect()
    }
}

/// Makes a message from the kernel, whose header names the socket that caused it.
fn message(kind: u16, flags: u16, seq: u32, port: u32, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    let start = w.message(kind, 0, seq);
    body(&mut w);
    w.end_message(start);
    let mut bytes = w.as_bytes().to_vec();
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&port.to_ne_bytes());
    bytes
}

impl FakeState {
    fn works(&self, port: u32) -> io::Result<()> {
        let broken = self.broken.contains(&port);
        if broken { Err(io::Error::from_raw_os_error(libc::EBADF)) } else { Ok(()) }
    }

    fn notify(&mut self, datagram: Vec<u8>) {
        for port in self.monitors.clone() {
            self.push(port, datagram.clone());
        }
    }

    fn push(&mut self, port: u32, datagram: Vec<u8>) {
        self.queues.entry(port).or_default().push_back(Ok(datagram));
    }

    fn echo(&mut self, port: u32, echo: Vec<u8>) {
        if self.lose_acks == 0 || !self.lose_echoes {
            self.push(port, echo);
        }
    }

    fn ack(&mut self, port: u32, seq: u32, result: Result<(), (i32, String)>) {
        if self.lose_acks > 0 {
            self.lose_acks -= 1;
            let lost = io::Error::from_raw_os_error(libc::ENOBUFS);
            self.queues.entry(port).or_default().push_back(Err(lost));
            return;
        }
        let (errno, text) = result.err().unwrap_or_default();
        let flags = NLM_F_CAPPED | if text.is_empty() { 0 } else { NLM_F_ACK_TLVS };
        let ack = message(NLMSG_ERROR, flags, seq, port, |w| {
            w.raw(&(-errno).to_ne_bytes());
            w.raw(&[0; 16]);
            if !text.is_empty() {
                w.text(NLMSGERR_ATTR_MSG, &text);
            }
        });
        self.push(port, ack);
    }

    fn request(&mut self, port: u32, request: &crate::netlink::read::Message<'_>) {
        *self.seen.entry(request.kind).or_default() += 1;
        let seq = request.seq;
        let dump = request.flags & NLM_F_DUMP == NLM_F_DUMP;
        match request.kind {
            RTM_GETLINK => self.dump_links(port, seq),
            RTM_GETSTATS => self.dump_counters(port, seq),
            RTM_GETTFILTER if dump => {
                let tc = TcMsg::parse(request.payload).unwrap();
                self.begin_dump(port, seq, tc.ifindex, tc.parent);
            }
            RTM_GETTFILTER => {
                let tc = TcMsg::parse(request.payload).unwrap();
                let result = self.find(&tc);
                if let Ok(at) = result {
                    let stored = self.filters[&at].clone();
                    let shown = message(RTM_NEWTFILTER, 0, seq, port, |w| stored.show(w, at));
                    self.push(port, shown);
                }
                self.ack(port, seq, result.map(drop));
            }
            RTM_NEWQDISC => {
                let ifindex = TcMsg::parse(request.payload).unwrap().ifindex;
                let result = match self.qdiscs.contains_key(&ifindex) {
                    true => Err((libc::EEXIST, "Exclusivity flag on".into())),
                    false => {
                        self.qdiscs.insert(ifindex, "clsact");
                        Ok(())
                    }
                };
                self.ack(port, seq, result);
            }
            RTM_DELQDISC => {
                let ifindex = TcMsg::parse(request.payload).unwrap().ifindex;
                self.qdiscs.remove(&ifindex);
                self.filters.retain(|at, _| at.ifindex != ifindex);
                self.ack(port, seq, Ok(()));
            }
            RTM_NEWTFILTER => {
                let result = self.install(request.payload);
                if let Ok(at) = result {
                    let stored = self.filters[&at].clone();
                    let distort = self.distort;
                    let echo = message(RTM_NEWTFILTER, 0, seq, port, |w| {
                        stored.show_with(w, at, distort);
                    });
                    self.notify(echo.clone());
                    self.echo(port, echo);
                }
                self.ack(port, seq, result.map(drop));
            }
            RTM_DELTFILTER => {
                let result = self.remove(request.payload);
                if let Ok((at, stored)) = &result {
                    let echo = message(RTM_DELTFILTER, 0, seq, port, |w| stored.show(w, *at));
                    self.notify(echo.clone());
                    self.echo(port, echo);
                }
                self.ack(port, seq, result.map(drop));
            }
            other => panic!("request {other}"),
        }
    }

    fn dump_links(&mut self, port: u32, seq: u32) {
        for link in self.links.clone() {
            let is_up = !self.down.contains(&link.0);
            let link = message(RTM_NEWLINK, 2, seq, port, |w| show_link(w, &link, is_up));
            self.push(port, link);
        }
        self.done(port, seq, 2);
    }

    fn dump_counters(&mut self, port: u32, seq: u32) {
        for (ifindex, (all, cpu)) in self.counters.clone() {
            let lost = self.lost.get(&ifindex).cloned().unwrap_or_default();
            let shown = message(RTM_NEWSTATS, 2, seq, port, |w| {
                w.raw(&[0; 4]);
                w.raw(&ifindex.to_ne_bytes());
                w.raw(&9_u32.to_ne_bytes());
                show_counters(w, IFLA_STATS_LINK_64, all, &lost);
                let nest = w.nest(IFLA_STATS_LINK_OFFLOAD_XSTATS);
                if let Some(cpu) = cpu {
                    let none = BTreeMap::new();
                    show_counters(w, IFLA_OFFLOAD_XSTATS_CPU_HIT, cpu, &none);
                }
                w.end(nest);
            });
            self.push(port, shown);
        }
        self.done(port, seq, 2);
    }

    fn begin_dump(&mut self, port: u32, seq: u32, ifindex: u32, parent: u32) {
        let mut flags = 2;
        if self.interrupt > 0 {
            self.interrupt -= 1;
            flags |= NLM_F_DUMP_INTR;
        }
        // Nothing is at egress.
        let index = if parent == TC_H_INGRESS_FILTERS { 0 } else { usize::MAX };
        let dump = FilterDump { seq, flags, ifindex, index, after: 0 };
        self.go_on_with_dump(port, dump);
    }

    /// Makes the next datagram of a dump.
    fn go_on_with_dump(&mut self, port: u32, mut dump: FilterDump) {
        let mut datagram = Vec::new();
        let mut count = 0;
        loop {
            let on = self.filters.keys().filter(|at| at.ifindex == dump.ifindex);
            let all: BTreeSet<_> = on.map(|at| (at.chain, at.priority)).collect();
            let Some((chain, priority)) = all.into_iter().nth(dump.index) else { break };
            let first = Location {
                chain,
                priority,
                handle: dump.after,
                ..Location::first_on(dump.ifindex)
            };
            let last = Location { handle: u32::MAX, ..first };
            let rest = (Bound::Excluded(first), Bound::Included(last));
            for (at, stored) in self.filters.range(rest) {
                if count == SHOWN {
                    self.push(port, datagram);
                    self.dumps.insert(port, dump);
                    return;
                }
                datagram.extend(message(RTM_NEWTFILTER, dump.flags, dump.seq, port, |w| {
                    stored.show(w, *at);
                }));
                (dump.after, count) = (at.handle, count + 1);
            }
            (dump.index, dump.after) = (dump.index + 1, 0);
            if let Some(change) = self.meanwhile.pop_front() {
                self.carry_out(change);
            }
        }
        if !datagram.is_empty() {
            self.push(port, datagram);
        }
        self.done(port, dump.seq, dump.flags);
    }

    fn done(&mut self, port: u32, seq: u32, flags: u16) {
        let done = message(NLMSG_DONE, flags, seq, port, |w| w.raw(&[0; 4]));
        self.push(port, done);
    }

    fn install(&mut self, payload: &[u8]) -> Result<Location, (i32, String)> {
        let tc = TcMsg::parse(payload).unwrap();
        self.count_down();
        if !self.links.iter().any(|link| link.0 == tc.ifindex) {
            return Err((libc::ENODEV, String::new()));
        }
        if !self.qdiscs.contains_key(&tc.ifindex) {
            return Err((libc::EINVAL, "Parent Qdisc doesn't exists".into()));
        }
        let stored = Stored::parse(&tc);
        if self.offload_off.contains(&tc.ifindex) {
            return Err((libc::EOPNOTSUPP, "TC offload is disabled on net device".into()));
        }
        for (key, _) in &stored.keys {
            if let Some((_, text)) = self.refuse_key.filter(|(kind, _)| kind == key) {
                return Err((libc::EOPNOTSUPP, text.into()));
            }
        }
        if let Some((_, text)) = self.refuse_action.filter(|(kind, _)| stored.has_action(kind)) {
            return Err((libc::EOPNOTSUPP, text.into()));
        }
        if self.filters.values().filter(|f| f.flower).count() >= self.capacity {
            return Err((libc::ENOSPC, "flow table full".into()));
        }
        let same_place = |at: &Location| {
            (at.ifindex, at.chain, at.priority) == (tc.ifindex, stored.chain, tc.priority)
        };
        for (at, other) in &self.filters {
            if same_place(at) && (other.keys == stored.keys || at.handle == tc.handle) {
                return Err((libc::EEXIST, String::new()));
            }
            if same_place(at) && other.protocol != stored.protocol {
                return Err((libc::EINVAL, "Filter protocol does not match".into()));
            }
        }
        self.next_handle += 1;
        let handle = if tc.handle == 0 { self.next_handle } else { tc.handle };
        let at =
            Location { ifindex: tc.ifindex, chain: stored.chain, priority: tc.priority, handle };
        let stored = Stored { in_hw: !self.not_in_hw, ..stored };
        self.filters.insert(at, stored);
        Ok(at)
    }

    fn remove(&mut self, payload: &[u8]) -> Result<(Location, Stored), (i32, String)> {
        let at = self.find(&TcMsg::parse(payload).unwrap())?;
        Ok((at, self.filters.remove(&at).unwrap()))
    }

    /// Finds the filter that a request names.
    fn find(&self, tc: &TcMsg<'_>) -> Result<Location, (i32, String)> {
        let chain = tc.attrs.clone().find(TCA_CHAIN).unwrap();
        let chain = chain.map_or(0, |attr| attr.u32().unwrap());
        let at = Location { ifindex: tc.ifindex, chain, priority: tc.priority, handle: tc.handle };
        if !self.qdiscs.contains_key(&tc.ifindex) {
            return Err((libc::EINVAL, "Parent Qdisc doesn't exists".into()));
        }
        let there = self.filters.get(&at).is_some_and(|stored| stored.protocol == tc.protocol);
        if there { Ok(at) } else { Err((libc::ENOENT, "Filter not found".into())) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.queues.remove(&self.port);
            state.dumps.remove(&self.port);
            state.monitors.retain(|port| *port != self.port);
        }
    }
}

impl Transport for Socket {
    fn again(&self) -> io::Result<Socket> {
        let mut state = self.state.lock().unwrap();
        if state.no_sockets {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        state.next_port += 1;
        let port = state.next_port;
        state.queues.insert(port, VecDeque::new());
        if state.monitors.contains(&self.port) {
            state.monitors.push(port);
        }
        Ok(Socket { state: Arc::clone(&self.state), port })
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.works(self.port)?;
        for request in Messages(datagram) {
            state.request(self.port, &request.unwrap());
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>, _timeout: Duration) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.works(self.port)?;
        let next = state.queues.entry(self.port).or_default().pop_front();
        if let Some(dump) = state.dumps.remove(&self.port) {
            state.go_on_with_dump(self.port, dump);
        }
        *into = next.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(())
    }

    fn port(&self) -> u32 {
        self.port
    }

    fn queue(&self) -> usize {
        1 << 20
    }
}
