//! The state in numbers: what the engine, the host datapath and the devices count, put together.

use std::collections::BTreeMap;

use flow::{Counters, Moment, PortTraffic};
use hostdp::drops::DropReason;
use metrics::{Direction, PortMetrics, ProviderMetrics, Snapshot};

use super::conservation::conservation;
use super::counted::Counted;
use super::operations::Operations;
use crate::status::{Masks, PortView, Status};
use flow::Clock;
use offload::{DeviceView, Engine, HOST, Place};

/// What never changes: the datapath's name and so on, and the clock for times of day.
pub(super) struct About {
    pub(super) name: String,
    /// The cores of the workers.
    pub(super) cores: Vec<usize>,
    pub(super) clock: Clock,
}

/// Puts a status together.
pub(super) fn status(about: &About, engine: &Engine, counted: &Counted<'_>) -> Status {
    let Counted { host, upcall_duration, traffic, .. } = counted;
    let devices: Vec<PortTraffic> = traffic.values().flatten().cloned().collect();
    let tally = engine.tally();
    let mut metrics = Snapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_seconds: about.clock.epoch(),
        flows: tally.placed.clone(),
        placement_changes: tally.placement_changes.clone(),
        providers: provider_metrics(about, engine, counted.operations),
        learning: engine.learning(),
        ..Snapshot::default()
    };
    metrics.upcall_duration = (*upcall_duration).clone();
    metrics.steps.insert("host", host.steps.clone());
    metrics.steps.insert("engine", counted.engine_steps.clone());
    host_metrics(&mut metrics, host);
    metrics.conservation = conservation(engine, counted);
    let evicted = metrics.learning.as_ref().map(|learning| learning.evicted.clone());
    for port in &host.ports {
        let mut of_port = port_metrics(port, &devices);
        let evicted = evicted.as_ref().and_then(|evicted| evicted.get(&port.id));
        of_port.evicted_addresses = evicted.copied().unwrap_or(0);
        metrics.ports.insert(port.name.clone(), of_port);
    }
    let ports = host.ports.iter().map(|port| PortView {
        id: port.id,
        name: port.name.clone(),
        kind: port.kind.name(),
        state: port.state,
        trouble: port.trouble.clone(),
        way: port.way,
        queues: port.queues.clone(),
        received: port.received + port.continued,
        sent: sent(port, &devices),
    });
    Status {
        name: about.name.clone(),
        cores: about.cores.clone(),
        client: engine.client_name(),
        ports: ports.collect(),
        gone: engine.devices().filter_map(gone).collect(),
        masks: Masks { visited: host.lookups.visited, total: host.masks as u64 },
        metrics,
    }
}

fn gone(device: DeviceView<'_>) -> Option<(String, String)> {
    Some((device.name.to_owned(), device.gone?.to_owned()))
}

fn provider_metrics(
    about: &About,
    engine: &Engine,
    operations: &Operations,
) -> BTreeMap<String, ProviderMetrics> {
    let of_tally = |name: &str, place| {
        let tally = engine.tally().providers.get(name).cloned().unwrap_or_default();
        let since_start = |moment: Moment| moment.since(Moment::default()).as_secs_f64();
        let reconciled = tally.reconciled.map(|moment| about.clock.epoch() + since_start(moment));
        ProviderMetrics {
            up: true,
            admitted: tally.admitted,
            refused: tally.refused,
            operations: operations.of(place),
            queue_limit: offload::QUEUE_LIMIT as u64,
            last_reconcile_seconds: reconciled.unwrap_or(0.0),
            corrections: tally.corrections,
            ..ProviderMetrics::default()
        }
    };
    let devices = engine.devices().map(|device| {
        let metrics = ProviderMetrics {
            up: device.gone.is_none(),
            ports: Some(device.ports),
            queue_length: device.queued,
            tables: device.tables.to_vec(),
            ..of_tally(device.name, Place::Nic(device.id))
        };
        (device.name.to_owned(), metrics)
    });
    devices.chain([(HOST.to_owned(), of_tally(HOST, Place::Host))]).collect()
}

fn host_metrics(metrics: &mut Snapshot, host: &hostdp::DatapathSnapshot) {
    for (depth, packets) in (0_u8..).zip(&host.lookups_at_depth) {
        metrics.recirculation_depth.observe_many(f64::from(depth), *packets);
    }
    metrics.recirculation_limit_exceeded = host.drops.get(DropReason::RecircLimit).packets
        + host.drops.get(DropReason::DeferredLimit).packets;
    let lookups = &host.lookups;
    metrics.cache_lookups =
        BTreeMap::from([("classifier", lookups.hits), ("miss", lookups.lookups - lookups.hits)]);
}

/// Returns what the host sent through a port. For a port of a card, this is what the card counted
/// as put on the wire for the host.
fn sent(port: &hostdp::PortSnapshot, traffic: &[PortTraffic]) -> Counters {
    let card = traffic.iter().find(|device| device.port == port.id && device.exact);
    card.map_or(port.sent, |card| card.from_host)
}

fn port_metrics(port: &hostdp::PortSnapshot, traffic: &[PortTraffic]) -> PortMetrics {
    let (upcalls, state) = (port.queue.queued, port.state.name());
    let mut metrics = PortMetrics { upcalls, state, ..PortMetrics::default() };
    metrics.host.received = port.received + port.continued;
    metrics.host.sent = sent(port, traffic);
    for (reason, what) in port.receive_drops.iter() {
        let reason_is_upcalls = matches!(
            reason,
            DropReason::UpcallQueueFull
                | DropReason::UpcallPendingFull
                | DropReason::PendingTimeout
                | DropReason::Client
                | DropReason::ClientMismatch
        );
        if reason_is_upcalls {
            metrics.upcall_drops.insert(reason.name(), what.packets);
        }
        metrics.drops.insert((Direction::Receive, reason.name()), what.packets);
    }
    for (reason, what) in port.transmit_drops.iter() {
        metrics.drops.insert((Direction::Transmit, reason.name()), what.packets);
    }
    if let Some(device) = traffic.iter().find(|device| device.port == port.id) {
        metrics.nic.received = device.received_alone();
        metrics.nic.sent = device.sent_alone();
        // What an interface counts as lost is an upper bound, and the host may have received it.
        let exact = device.receive_drops.iter().filter(|_| device.exact);
        for (reason, what) in exact {
            *metrics.drops.entry((Direction::Receive, reason)).or_default() += what.packets;
        }
        for (reason, what) in &device.transmit_drops {
            *metrics.drops.entry((Direction::Transmit, reason)).or_default() += what.packets;
        }
    }
    metrics
}
