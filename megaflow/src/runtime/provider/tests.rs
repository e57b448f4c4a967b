//! A daemon whose only device goes, comes back, panics or hangs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use flow::{
    Capabilities, Generation, ManualTime, Megaflow, Op, Placement, ProviderError, Reason, Refusals,
    Stats, TableUsage, Ufid, odp,
};
use offload::{Budget, ByRate, Engine, FlowView, Request, Response, Settings};

use super::*;
use crate::handle::Handle;
use crate::runtime::{Parts, Running, start};

struct TakesAll(Capabilities);

impl Admission for TakesAll {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }
    fn admit(&self, _flow: &Megaflow) -> Result<(), Refusals> {
        Ok(())
    }
    fn explain(&self, _flow: &Megaflow) -> Result<String, Refusals> {
        Ok("plan".to_owned())
    }
}

/// A device that keeps what it holds while nobody reaches it.
#[derive(Default)]
struct Device {
    entries: BTreeMap<Ufid, Dumped>,
    gone: bool,
    told: bool,
    may_come_back: bool,
    panics: bool,
    hangs: bool,
}

impl Device {
    fn apply(&mut self, op: &Op) -> Result<Stats, ProviderError> {
        let entry = |flow: &Arc<Megaflow>, generation: Generation| Dumped {
            ufid: flow.ufid,
            generation,
            flow: Some(flow.clone()),
            stats: Stats::default(),
            active: true,
        };
        let ended = match op {
            Op::Install { flow, .. } if self.entries.contains_key(&flow.ufid) => {
                return Err(ProviderError::Exists);
            }
            Op::Install { flow, generation } => {
                self.entries.insert(flow.ufid, entry(flow, *generation));
                return Ok(Stats::default());
            }
            Op::Replace { flow, generation } if self.entries.contains_key(&flow.ufid) => {
                self.entries.insert(flow.ufid, entry(flow, *generation))
            }
            Op::Replace { .. } => None,
            Op::Remove { ufid } => self.entries.remove(ufid),
        };
        ended.map(|ended| ended.stats).ok_or(ProviderError::NotFound)
    }

    fn check(&self) -> Result<(), ProviderError> {
        if self.gone { Err(ProviderError::Gone("pulled out".to_owned())) } else { Ok(()) }
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Device>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Device> {
        self.0.lock().unwrap()
    }
}

struct Nic {
    device: Shared,
    in_flight: Vec<Submission>,
}

impl Provider for Nic {
    fn name(&self) -> &str {
        "nic"
    }
    fn admission(&self) -> Arc<dyn Admission> {
        Arc::new(TakesAll(Capabilities::default()))
    }
    fn window(&self) -> usize {
        2
    }
    fn submit(&mut self, waiting: &mut VecDeque<Submission>) {
        let room = self.window() - self.in_flight.len();
        self.in_flight.extend(waiting.drain(..room.min(waiting.len())));
    }
    fn poll(&mut self, _wait: Duration, done: &mut Vec<Completion>) {
        let mut device = self.device.lock();
        let end = |sent: Submission| {
            let gone = device.check();
            sent.completed(gone.and_then(|()| device.apply(&sent.op)))
        };
        done.extend(self.in_flight.drain(..).map(end));
    }
    fn stats(
        &mut self,
        _from: Cursor,
        out: &mut Vec<(Ufid, Stats)>,
    ) -> Result<Option<Cursor>, ProviderError> {
        let device = self.device.lock();
        device.check()?;
        out.extend(device.entries.iter().map(|(ufid, entry)| (*ufid, entry.stats)));
        Ok(None)
    }
    fn dump(
        &mut self,
        _from: Cursor,
        out: &mut Vec<Dumped>,
    ) -> Result<Option<Cursor>, ProviderError> {
        let device = self.device.lock();
        device.check()?;
        out.extend(device.entries.values().cloned());
        Ok(None)
    }
    fn adopt(&mut self, found: &[Dumped]) -> Vec<Ufid> {
        found.iter().map(|found| found.ufid).collect()
    }
    fn tables(&self) -> Vec<TableUsage> {
        Vec::new()
    }
    fn events(&mut self) -> Vec<ProviderEvent> {
        while self.device.lock().hangs {
            std::thread::yield_now();
        }
        let mut device = self.device.lock();
        if device.panics {
            drop(device);
            panic!("as a bug would");
        }
        let is_new = device.gone && !std::mem::replace(&mut device.told, true);
        if is_new { vec![ProviderEvent::Gone("pulled out".to_owned())] } else { Vec::new() }
    }
    fn reopen(&mut self) -> Result<(), ProviderError> {
        let mut device = self.device.lock();
        device.gone &= !device.may_come_back;
        device.told = false;
        device.check()
    }
}

/// A daemon with that device.
fn daemon(device: &Shared) -> Running {
    let client = Box::new(pipeline::none::NoClient);
    let mut engine = Engine::new(Settings::default(), client, Box::new(ByRate));
    let nic = Nic { device: device.clone(), in_flight: Vec::new() };
    engine.add_hardware(nic.name(), nic.admission(), Budget::new(u32::MAX));
    start(Parts {
        name: "test".to_owned(),
        clock: Clock::start(),
        engine,
        recorder: None,
        datapaths: vec![hostdp::Datapath::new(hostdp::DatapathSettings::default())],
        cores: Vec::new(),
        providers: vec![Box::new(nic)],
    })
    .unwrap()
}

fn flow(station: u8) -> Arc<Megaflow> {
    let matching = format!("in_port(1),eth(dst=02:00:00:00:00:{station:02x})");
    let matching = odp::parse_match(&matching).unwrap();
    Arc::new(Megaflow::new(matching, odp::parse_actions("2").unwrap()))
}

fn install(handle: &Handle, flow: &Arc<Megaflow>) {
    handle.request(Request::Install(flow.clone())).unwrap();
}

/// Waits until the megaflow is as it should be.
fn until(handle: &Handle, flow: &Megaflow, is: impl Fn(&FlowView) -> bool) {
    let clock = Clock::start();
    loop {
        let shown = handle.request(Request::Flow(flow.ufid)).unwrap();
        let Response::Flows(shown) = shown else { panic!("{shown:?}") };
        if is(&shown[0]) {
            return;
        }
        assert!(clock.elapsed() < Duration::from_secs(20), "{shown:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn in_nic(view: &FlowView) -> bool {
    view.placement == Placement::Nic
}

fn has_lost_its_device(view: &FlowView) -> bool {
    let why = view.refused.as_ref().map(|refused| refused.why.first.reason);
    view.placement == Placement::Refused && why == Some(Reason::DeviceGone)
}

#[test]
fn a_device_that_comes_back_is_used_again_and_its_counts_go_on() {
    let device = Shared::default();
    let running = daemon(&device);
    let handle = &running.handle;
    let [old, new] = [1, 2].map(flow);
    install(handle, &old);
    until(handle, &old, in_nic);
    let count = |packets| {
        let mut device = device.lock();
        let entry = device.entries.get_mut(&old.ufid).unwrap();
        entry.stats.counters = Counters { packets, bytes: packets * 60 };
    };
    count(8);
    handle.request(Request::Reconcile).unwrap();
    until(handle, &old, |view| view.nic.packets == 8);
    assert_eq!(handle.status().unwrap().unready(), None);
    device.lock().gone = true;
    until(handle, &old, has_lost_its_device);
    install(handle, &new);
    until(handle, &new, has_lost_its_device);
    let status = handle.status().unwrap();
    let told = "the device of provider nic is gone, and the host forwards: pulled out";
    assert_eq!(status.unready().as_deref(), Some(told));
    assert!(!status.metrics.providers["nic"].up);
    // The entry forwards on, and its counter with it.
    count(11);
    device.lock().may_come_back = true;
    until(handle, &old, in_nic);
    until(handle, &new, in_nic);
    handle.request(Request::Reconcile).unwrap();
    until(handle, &old, |view| view.nic.packets == 11);
    let status = handle.status().unwrap();
    assert_eq!(status.unready(), None);
    assert!(status.metrics.providers["nic"].up);
    handle.exit().unwrap();
    running.join().unwrap();
    assert!(device.lock().entries.is_empty());
}

#[test]
fn a_thread_that_panics_is_a_device_that_is_gone() {
    let device = Shared::default();
    let running = daemon(&device);
    let handle = &running.handle;
    let [old, new] = [1, 2].map(flow);
    install(handle, &old);
    until(handle, &old, in_nic);
    device.lock().panics = true;
    until(handle, &old, has_lost_its_device);
    install(handle, &new);
    until(handle, &new, has_lost_its_device);
    let status = handle.status().unwrap();
    assert!(status.unready().unwrap().ends_with("its thread died"));
    assert!(!status.metrics.providers["nic"].up);
    assert!(handle.dump("nic").is_err());
    handle.exit().unwrap();
    running.join().unwrap();
}

#[test]
fn a_thread_that_hangs_does_not_keep_the_daemon_from_its_end() {
    let device = Shared::default();
    let running = daemon(&device);
    let handle = &running.handle;
    install(handle, &flow(1));
    until(handle, &flow(1), in_nic);
    device.lock().hangs = true;
    let _ = handle.exit();
    running.join().unwrap();
    device.lock().hangs = false;
}

#[test]
fn nothing_is_read_before_the_engine_has_caught_up() {
    let (news, heard) = crossbeam_channel::unbounded();
    let nic = Nic { device: Shared::default(), in_flight: Vec::new() };
    let time = ManualTime::default();
    let mut provider = ProviderLoop::new(ProviderId(0), Box::new(nic), time.clock(), news);
    provider.opened();
    provider.begin(ProviderJob::Dump);
    (0..UNREAD).for_each(|_| provider.tell(Event::Tick));
    provider.work();
    assert_eq!(heard.try_iter().count(), 1 + UNREAD);
    provider.work();
    let read: Vec<News> = heard.try_iter().collect();
    assert!(matches!(read[..], [News::Event(Event::Dumped { .. })]));
    // It does not wait for ever.
    (0..UNREAD).for_each(|_| provider.tell(Event::Tick));
    provider.begin(ProviderJob::ReadStats);
    provider.work();
    assert_eq!(heard.len(), UNREAD);
    time.pass(CATCH_UP);
    provider.work();
    assert!(heard.len() > UNREAD);
}
