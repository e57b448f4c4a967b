//! The last part of a round of statistics: what is believed of each megaflow is compared with what
//! was read.

use flow::Moment;

use crate::event::{Place, ProviderId};
use crate::planner::Planner;
use crate::residence::Life;
use crate::rounds::Sweep;
use crate::sets::FlowId;

/// The weight of the newest interval in a megaflow's rate.
const RATE_WEIGHT: f64 = 0.5;
/// Packets per second below which a megaflow has none.
const LEAST_RATE: f64 = 0.01;

impl Sweep {
    /// Compares one megaflow with what was read: finds a lost rule, and updates the rate for the
    /// placement policy.
    pub(super) fn visit(&mut self, planner: &mut Planner, id: FlowId, now: Moment) {
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
            if record.rate < LEAST_RATE {
                record.rate = 0.0;
            }
            planner.placer.queue.rated(id, before, record.rate);
        }
        if let Some(provider) = lost_by {
            planner.repair(provider, id, now);
        }
        for (provider, rivals) in &mut self.rivals {
            planner.placer.compete(rivals, *provider, &planner.flows, id);
        }
        planner.flows.may_rest(id);
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
