//! An engine that only keeps a table. The tests of the socket and the page talk to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow::{
    Action, Counters, Field, Generation, Megaflow, OpKind, Placement, PortId, Reason, Reasons,
    Refusal, Refusals, TableName, TableUsage, Ufid, odp,
};

use super::Context;
use super::log::Log;
use crate::handle::{Ask, Handle, StopFlag};
use crate::status::{Masks, PortView, Status};
use offload::{
    Explanation, FlowPage, FlowView, Refused, Request, RequestError, Response, Standing,
};

/// The largest number of megaflows in a page.
pub(crate) const PAGE: u32 = 64;

/// Starts the engine on a thread of its own. The thread ends with the last handle or by `exit`.
pub(crate) fn context() -> Context {
    let (requests, inbox) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        let mut engine = Engine::default();
        for question in inbox {
            // A caller that has given up does not hear the answer.
            let _ = match question {
                Ask::Engine(request, reply) => reply.send(engine.answer(request)).is_ok(),
                Ask::Status(reply) => reply.send(Ok(Box::new(engine.status()))).is_ok(),
                Ask::Dump(_, reply) => reply.send(Ok((Vec::new(), true))).is_ok(),
                Ask::Receive(_, _, reply) => {
                    engine.received += 1;
                    reply.send(Ok(())).is_ok()
                }
                Ask::Exit(reply) => {
                    let _ = reply.send(Ok(()));
                    break;
                }
            };
        }
    });
    Context::new(Handle::new(requests, StopFlag::default()), Log::detached())
}

/// What the engine was asked for pages of megaflows.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<(usize, usize)>>);

impl Asked {
    /// The number of pages, and of megaflows in them, since the last call.
    pub(crate) fn take(&self) -> (usize, usize) {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Puts a counter between the engine of that context and those who ask it for megaflows. The
/// engine is gone for them after `last` pages.
pub(crate) fn counted(behind: Context, last: usize) -> (Context, Asked) {
    let (requests, inbox) = crossbeam_channel::unbounded();
    let asked = Asked::default();
    let counts = asked.clone();
    std::thread::spawn(move || {
        let mut pages = 0;
        for question in inbox {
            let _ = match question {
                Ask::Status(reply) => reply.send(behind.handle.status()).is_ok(),
                Ask::Engine(request, reply) => {
                    let answer = behind.handle.request(request);
                    if let Ok(Response::Page(page)) = &answer {
                        pages += 1;
                        let mut counts = counts.0.lock().unwrap();
                        *counts = (counts.0 + 1, counts.1 + page.flows.len());
                    }
                    pages <= last && reply.send(answer).is_ok()
                }
                _ => false,
            };
        }
    });
    (Context::new(Handle::new(requests, StopFlag::default()), Log::detached()), asked)
}

#[derive(Default)]
struct Engine {
    flows: BTreeMap<Ufid, FlowView>,
    received: u64,
}

impl Engine {
    fn answer(&mut self, request: Request) -> Result<Response, RequestError> {
        if let Request::InstallAll(flows) = request {
            let one = |flow: &Arc<Megaflow>| self.answer(Request::Install(flow.clone())).err();
            let all = flows.iter().map(one).enumerate();
            let failed = all.filter_map(|(place, error)| Some((place, error?))).collect();
            return Ok(Response::Installed { failed });
        }
        let refused = |text: String| Err(RequestError::Refused(text));
        // The host table's part.
        let wanted = match &request {
            Request::Install(flow) => Some((&flow.matching, &flow.actions)),
            Request::Replace(ufid, new) => self.flows.get(ufid).map(|v| (&v.flow.matching, new)),
            _ => None,
        };
        if let Some(Err(invalid)) = wanted.map(|(matching, new)| flow::validate(matching, new)) {
            return refused(invalid.to_string());
        }
        Ok(match request {
            Request::Flows { from, most } => Response::Page(self.page(from, most)),
            Request::Flow(ufid) => match self.flows.get(&ufid) {
                Some(view) => Response::Flows(vec![view.clone()]),
                None => return refused(format!("no flow {ufid}")),
            },
            Request::Install(flow) if self.flows.contains_key(&flow.ufid) => {
                return refused(format!("{} is installed already", flow.ufid));
            }
            Request::Install(flow) => {
                self.flows.insert(flow.ufid, view(&flow));
                Response::Done
            }
            Request::Replace(ufid, actions) => match self.flows.get_mut(&ufid) {
                Some(view) => {
                    view.flow = Arc::new(Megaflow::new(view.flow.matching.clone(), actions));
                    Response::Done
                }
                None => return refused(format!("no flow {ufid}")),
            },
            Request::Remove(ufid) => match self.flows.remove(&ufid) {
                Some(view) => Response::Flows(vec![view]),
                None => return refused(format!("no flow {ufid}")),
            },
            Request::RemoveAll => {
                self.flows.clear();
                Response::Done
            }
            Request::Explain(flow) => Response::Explanation(vec![Explanation {
                provider: "fpga".to_owned(),
                plan: decide(&flow).is_ok().then(|| "exact slot, output 2".to_owned()),
                standing: match decide(&flow) {
                    Err(why) => Standing::Refuses(why),
                    Ok(()) if self.flows.contains_key(&flow.ufid) => Standing::Holds,
                    Ok(()) => Standing::Takes,
                },
            }]),
            Request::FdbShow => Response::Text(" port  VLAN  MAC                Age\n".to_owned()),
            _ => Response::Done,
        })
    }

    fn page(&self, from: u32, most: u32) -> FlowPage {
        let most = most.min(PAGE);
        let views = (from + 1..).zip(self.flows.values().skip(from as usize).cloned());
        let flows: Vec<(u32, FlowView)> = views.take(most as usize).collect();
        let next = from + most;
        let has_more = self.flows.len() > next as usize;
        FlowPage { flows, next: has_more.then_some(next), placed: self.placed() }
    }

    fn placed(&self) -> BTreeMap<Placement, u64> {
        let mut placed = BTreeMap::new();
        for view in self.flows.values() {
            *placed.entry(view.placement).or_default() += 1;
        }
        placed
    }

    fn status(&self) -> Status {
        let mut metrics = metrics::Snapshot { version: "0.0.0".into(), ..Default::default() };
        metrics.flows = self.placed();
        let mut provider = metrics::ProviderMetrics { up: true, ..Default::default() };
        provider.tables.push(TableUsage {
            table: TableName::ExactMatch,
            holds_megaflows: true,
            entries: 1,
            capacity: Some(8),
        });
        let mut install = metrics::OperationMetrics { ok: 3, ..Default::default() };
        install.errors.insert("full", 2);
        install.duration.observe_duration(Duration::from_micros(5));
        provider.operations.insert(OpKind::Install, install);
        metrics.providers.insert("fpga".to_owned(), provider);
        metrics.ports.insert(HOSTILE.to_owned(), metrics::PortMetrics::default());
        metrics.learning = Some(flow::Learning::default());
        metrics.cache_lookups = [("classifier", 3), ("miss", self.received)].into();
        let port = |number, name: &str| PortView {
            id: PortId(number),
            name: name.to_owned(),
            kind: "fpga",
            state: hostdp::port::LinkState::Up,
            trouble: None,
            way: None,
            queues: vec![1, 1],
            received: Counters { packets: self.received, bytes: 60 },
            sent: Counters::default(),
        };
        Status {
            name: "br0".to_owned(),
            cores: vec![2, 3],
            client: "l2",
            ports: vec![port(1, "vf0"), port(2, HOSTILE)],
            gone: BTreeMap::new(),
            metrics,
            masks: Masks { visited: 9, total: 2 },
        }
    }
}

/// A port name that would be markup if a page did not escape it.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>";

fn decide(flow: &Megaflow) -> Result<(), Refusals> {
    let mut reasons = Reasons::default();
    if flow.matching.mask().dp_hash != 0 {
        let refusal = Refusal::new(Reason::MatchField, Field::DpHash);
        reasons.add(refusal.said("the card has no such key"));
    }
    for action in flow.actions.iter() {
        if matches!(action, Action::Trunc(_) | Action::Hash { .. }) {
            reasons.add(Refusal::new(Reason::Action, action.kind()));
        }
    }
    reasons.into_result(())
}

fn view(flow: &Arc<Megaflow>) -> FlowView {
    let lasting = Duration::from_secs(3);
    let refused = decide(flow).err().map(|why| Refused { why, lasting });
    let nic = refused.is_none();
    FlowView {
        flow: flow.clone(),
        placement: if nic { Placement::Nic } else { Placement::Refused },
        provider: nic.then(|| "fpga".to_owned()),
        generation: Generation(1),
        refused,
        nic: Counters { packets: 7, bytes: 700 },
        host: Counters { packets: 1, bytes: 60 },
        used: Some(Duration::from_millis(1500)),
        tcp_flags: 0x12,
    }
}

/// Installs `count` flows.
pub(crate) fn fill(context: &Context, count: u32) {
    for number in 0..count {
        let text = format!(
            "in_port(1),eth_type(0x0800),ipv4(src=10.0.0.0/255.0.0.0,proto=6),\
             tcp(dst={number})"
        );
        let flow =
            Megaflow::new(odp::parse_match(&text).unwrap(), odp::parse_actions("2").unwrap());
        context.handle.request(Request::Install(Arc::new(flow))).unwrap();
    }
}
