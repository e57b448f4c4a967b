//! Makes the qdisc that holds our filters, and removes qdiscs and filters at the end.

use crate::TcError;
use crate::encode;
use crate::wire::consts::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, RTM_DELQDISC, RTM_DELTFILTER, RTM_GETTFILTER,
    RTM_NEWQDISC, RTM_NEWTFILTER, TC_H_EGRESS_FILTERS, TC_H_INGRESS_FILTERS,
};
use crate::wire::{Client, Outcome, Transport, WireError};

use super::Tc;
use super::errors::is_absent;
use super::table::Placed;

/// Makes the ingress of an interface ready. Returns true if the qdisc is new. An existing
/// `ingress` qdisc of another tool works as well as `clsact`.
pub(super) fn ensure<T: Transport>(
    client: &mut Client<T>,
    ifindex: u32,
) -> Result<bool, WireError> {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    match client.request(RTM_NEWQDISC, flags, |w| encode::clsact(w, ifindex)) {
        Ok(()) => Ok(true),
        Err(WireError::Refused(nack)) if nack.errno == libc::EEXIST => Ok(false),
        Err(error) => Err(error),
    }
}

impl<T: Transport> Tc<T> {
    pub(super) fn remove_all(&mut self) -> Result<(), TcError> {
        self.strays.clear();
        self.found.clear();
        for ifindex in self.interfaces() {
            let ours = self.list(ifindex, false)?.ours;
            self.remove_placed(ours.values().map(|listed| listed.placed))?;
            self.table.retain_on(ifindex, |_| false);
        }
        self.release_qdiscs()
    }

    /// Removes the qdiscs that we made and that hold no filters.
    pub(super) fn release_qdiscs(&mut self) -> Result<(), TcError> {
        for state in self.ports.values_mut() {
            if !state.own_qdisc || state.gone {
                continue;
            }
            let ifindex = state.device.ifindex;
            state.own_qdisc = false;
            if is_empty(&mut self.client, ifindex)? {
                let removed =
                    self.client.request(RTM_DELQDISC, NLM_F_ACK, |w| encode::clsact(w, ifindex));
                match removed {
                    Ok(()) => {}
                    Err(WireError::Refused(nack)) if is_absent(&nack) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Removes filters. A filter that no longer exists is no error.
    fn remove_placed(&mut self, placed: impl Iterator<Item = Placed>) -> Result<(), TcError> {
        let mut batch = self.client.batch();
        for filter in placed {
            batch.add(RTM_DELTFILTER, NLM_F_ACK, |w| {
                encode::remove(w, &filter.at, filter.protocol);
            })?;
        }
        for outcome in self.client.transact(&batch, &mut |_, _| {})? {
            match outcome {
                Outcome::Done => {}
                Outcome::Refused(nack) if is_absent(&nack) => {}
                Outcome::Refused(nack) => return Err(TcError::Kernel(nack.to_string())),
                Outcome::Unknown => return Err(TcError::Kernel("no answer".into())),
            }
        }
        Ok(())
    }
}

/// Returns true if the interface has no filters, neither at ingress nor at egress.
fn is_empty<T: Transport>(client: &mut Client<T>, ifindex: u32) -> Result<bool, WireError> {
    Ok(no_filters(client, ifindex, TC_H_INGRESS_FILTERS)?
        && no_filters(client, ifindex, TC_H_EGRESS_FILTERS)?)
}

/// Returns true if the interface has no filters at egress.
pub(super) fn is_egress_empty<T: Transport>(
    client: &mut Client<T>,
    ifindex: u32,
) -> Result<bool, WireError> {
    no_filters(client, ifindex, TC_H_EGRESS_FILTERS)
}

fn no_filters<T: Transport>(
    client: &mut Client<T>,
    ifindex: u32,
    parent: u32,
) -> Result<bool, WireError> {
    let filters = client.dump(
        RTM_GETTFILTER,
        NLM_F_DUMP,
        |w| encode::dump(w, ifindex, parent),
        || 0u32,
        |filters, message| {
            *filters += u32::from(message.kind == RTM_NEWTFILTER);
            Ok(())
        },
    )?;
    Ok(filters == 0)
}
