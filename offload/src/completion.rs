//! Handles completed and failed operations: notes what is there now, takes the counters in, and
//! plans what follows.

use flow::{Actions, Completion, Moment, ProviderError, Ufid};

use super::event::{Cause, Place};
use super::life::Life;
use super::{Engine, placement};

impl Engine {
    pub(super) fn completed(&mut self, place: Place, completions: &[Completion], now: Moment) {
        if let Place::Nic(provider) = place
            && let Some(hardware) = self.hardware.get_mut(provider.0)
        {
            hardware.queued = hardware.queued.saturating_sub(completions.len());
        }
        let mut gone = None;
        for completion in completions {
            match (place, &completion.result) {
                // This error concerns the device, not one megaflow: the rest of the batch is
                // settled first.
                (Place::Nic(provider), Err(ProviderError::Gone(why))) => {
                    gone = Some((provider, why));
                }
                _ => self.settle(place, completion, now),
            }
        }
        if let Some((provider, why)) = gone {
            self.lost(provider, why, now);
        }
    }

    fn settle(&mut self, place: Place, completion: &Completion, now: Moment) {
        let ufid = completion.ufid;
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        let elsewhere = !entry.lives_in(place);
        let residence = entry.residence_mut(place);
        // The completion is not of the operation that this life waits for: it belongs to the
        // removal of a rule that was not ours any more, or to a device that the megaflow has left
        // since.
        if elsewhere || !residence.life.awaits(completion.kind) {
            return;
        }
        let before = residence.life;
        let scopes = residence.scopes();
        residence.life = before.completed(completion.result.as_ref().err());
        let sent = residence.sent.take();
        // The final counts of a life belong to its own actions, not to those that follow.
        if let Ok(stats) = &completion.result
            && before != Life::Installing
        {
            self.read(place, ufid, *stats, now);
        }
        if let Some(entry) = self.flows.get_mut(&ufid) {
            entry.residence_mut(place).carried_out(completion.result.is_ok(), sent.as_ref());
            if place != Place::Host && entry.nic.life == Life::Present && entry.want_nic {
                entry.refused = None;
            }
        }
        if let Err(error) = &completion.result {
            self.failed(place, ufid, error, sent, now);
            // `Exists` is held too: a device may say by turns that a rule is there and that it is
            // not.
            if before == Life::Removing || matches!(error, ProviderError::Exists) {
                self.hold(place, ufid, now);
            }
            if before == Life::Removing {
                self.removal_failed(place, ufid, error);
            }
        }
        let lost = matches!(completion.result, Err(ProviderError::NotFound));
        self.recount(ufid, if lost { "missing" } else { completion.kind.name() });
        if place != Place::Host {
            self.index(ufid);
            self.chain_changed(ufid, scopes, now);
        }
        self.plan(ufid, now);
        self.place(ufid, now);
    }

    /// Holds the next operation back for a while, so that it is not repeated as fast as a device
    /// can refuse.
    fn hold(&mut self, place: Place, ufid: Ufid, now: Moment) {
        if let Some(entry) = self.flows.get_mut(&ufid)
            && entry.residence(place).life == Life::Present
        {
            entry.held = true;
            self.held.insert((now + placement::RETRY_REMOVAL, ufid));
        }
    }

    /// Counts a failed removal. A single failure may be temporary; after `placement::REMOVALS`
    /// failures, waiting requests are answered with the error.
    fn removal_failed(&mut self, place: Place, ufid: Ufid, error: &ProviderError) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        if entry.leaving.is_some() && entry.residence(place).stays() {
            entry.failed_removals = entry.failed_removals.saturating_add(1);
            if entry.failed_removals >= placement::REMOVALS {
                self.answer_failed_removal(ufid, error);
            }
        }
    }

    pub(super) fn release_held(&mut self, now: Moment) {
        while let Some((at, ufid)) = self.held.first().copied().filter(|(at, _)| *at <= now) {
            self.held.remove(&(at, ufid));
            if let Some(entry) = self.flows.get_mut(&ufid) {
                entry.held = false;
            }
            self.plan(ufid, now);
        }
    }

    /// The host table refused the wanted actions. An operator's change is undone (no place has
    /// the new actions yet). Any other refusal is final: the megaflow is removed, as it can't
    /// live without the host table.
    fn host_refused(&mut self, ufid: Ufid, error: &ProviderError, refused: Option<&Actions>) {
        let Some(entry) = self.flows.get_mut(&ufid) else { return };
        // The megaflow is leaving, or other actions are wanted by now: the next operation takes
        // care of that.
        if entry.leaving.is_some() || refused != Some(&entry.flow.actions) {
            return;
        }
        match entry.host.installed.clone().filter(|_| entry.asker.is_some()) {
            Some(before) => self.change_actions(ufid, before),
            None => entry.leaving = Some(Cause::HostRefused),
        }
        self.answer_failure(ufid, error);
    }

    /// Handles a failed operation: changes what is wanted, or has the operation tried again
    /// later.
    fn failed(
        &mut self,
        place: Place,
        ufid: Ufid,
        error: &ProviderError,
        sent: Option<Actions>,
        now: Moment,
    ) {
        match (place, error) {
            // `Engine::completed` handles the loss of a device.
            (Place::Nic(_), ProviderError::Gone(_)) => {}
            (Place::Nic(provider), ProviderError::Full(refusal)) => {
                if let Some(hardware) = self.hardware.get_mut(provider.0) {
                    hardware.said_full = true;
                }
                self.refuse(ufid, refusal.clone().into(), Some(now + placement::RETRY_FULL), now);
            }
            (Place::Nic(_), ProviderError::Unsupported(refusal)) => {
                self.refuse(ufid, refusal.clone().into(), None, now);
            }
            (Place::Nic(_), error @ ProviderError::Invalid(_)) => {
                self.refuse(ufid, error.refusal().into(), None, now);
            }
            (Place::Nic(_), ProviderError::Busy(_) | ProviderError::Overlap(_)) => {
                let retry = Some(now + placement::RETRY_FULL);
                self.refuse(ufid, error.refusal().into(), retry, now);
            }
            // The place is as wanted: the megaflow is installed already, or it is not there to be
            // removed.
            (Place::Nic(_), ProviderError::Exists | ProviderError::NotFound) => {}
            (Place::Host, ProviderError::Exists | ProviderError::NotFound) => {}
            (Place::Host, _) => self.host_refused(ufid, error, sent.as_ref()),
        }
    }
}
