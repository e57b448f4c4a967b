//! The last part of a round of statistics: what is believed of each megaflow is compared with what
//! was read.

use std::time::Duration;

use flow::Moment;

use crate::event::{Cause, Place, ProviderId};
use crate::planner::Planner;
use crate::residence::Life;
use crate::rounds::Sweep;
use crate::sets::FlowId;

/// The weight of the newest interval in a megaflow's rate.
const RATE_WEIGHT: f64 = 0.5;

impl Sweep {
    /// Compares one megaflow with what was read: finds a lost rule, updates the rate for the
    /// placement policy, and lets an idle megaflow go.
    pub(super) fn visit(
        &mut self,
        planner: &mut Planner,
        id: FlowId,
        max_idle: Duration,
        now: Moment,
    ) {
        let Some(record) = planner.flows.get_mut(id) else { return };
        // The host table is this process's own and loses nothing; its readings have those only
        // that were hit.
        let is_lost = |provider: &ProviderId| {
            record.nic.life == Life::Present
                && record.nic.read_in != self.number
                && self.read.contains(&Place::Nic(*provider))
        };
        let lost_by = record.provider.filter(is_lost);
        if let Some(interval) = self.interval {
            let recent = std::mem::take(&mut record.recent);
            let rate = f64::from(recent) / interval.as_secs_f64();
            let before = record.rate;
            record.rate += RATE_WEIGHT * (rate - before);
            planner.placer.queue.rated(id, before, record.rate);
            // Hits in the NIC are known up to its last reading only; later ones may not have been
            // read yet.
            let provider = record.provider.filter(|_| record.nic.life.forwards());
            let device = provider.and_then(|provider| planner.placer.device(provider));
            let known_until = device.map_or(now, |device| device.read_at.min(now));
            if record.is_idle(known_until, max_idle) {
                planner.leave(id, Cause::Idle, now);
            }
        }
        if let Some(provider) = lost_by {
            planner.repair(provider, id, now);
        }
        for (provider, rivals) in &mut self.rivals {
            planner.placer.compete(rivals, *provider, &planner.flows, id);
        }
    }

    /// Ends the round. Returns true if a request waits for another one.
    pub(super) fn finish(self, planner: &mut Planner, now: Moment) -> bool {
        for (provider, rivals) in self.rivals {
            planner.exchange(provider, rivals, now);
        }
        for place in self.read {
            if let Place::Nic(provider) = place
                && let Some(device) = planner.placer.device_mut(provider)
            {
                device.passed();
            }
            let name = planner.place_name(place);
            planner.tally.reconciled(&name, now);
        }
        planner.rounds.swept();
        planner.waiters.round_done()
    }
}
