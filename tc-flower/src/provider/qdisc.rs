//! The qdisc that filters hang on, and leaving nothing behind.

use crate::TcError;
use crate::decode::{Counted, Filter};
use crate::encode;
use crate::wire::consts::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, RTM_DELQDISC, RTM_DELTFILTER, RTM_GETTFILTER,
    RTM_NEWQDISC, RTM_NEWTFILTER, TC_H_EGRESS_FILTERS, TC_H_INGRESS_FILTERS,
};
use crate::wire::{Client, Outcome, Transport, WireError};

use super::Tc;
use super::errors::is_absent;
use super::table::Placed;

/// Makes the ingress of an interface ready; true if the qdisc is new. An `ingress` qdisc that
/// somebody else put there serves as well as `clsact`.
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

/// Every filter of an interface's ingress: what is ours, and the priorities that are not.
pub(super) struct Survey {
    pub(super) ours: Vec<(Placed, Counted)>,
    /// Chain and priority.
    pub(super) others: Vec<(u32, u16)>,
}

/// Looks at one interface.
pub(super) fn survey<T: Transport>(
    client: &mut Client<T>,
    ifindex: u32,
) -> Result<Survey, WireError> {
    client.dump(
        RTM_GETTFILTER,
        NLM_F_DUMP,
        |w| encode::dump(w, ifindex, TC_H_INGRESS_FILTERS),
        || Survey { ours: Vec::new(), others: Vec::new() },
        |survey, message| {
            if message.kind != RTM_NEWTFILTER {
                return Ok(());
            }
            let Some(filter) = Filter::parse(message.payload)? else { return Ok(()) };
            let summary = filter.summary()?;
            match summary.cookie {
                Some(cookie) => {
                    let placed = Placed { at: filter.at, protocol: filter.protocol, cookie };
                    survey.ours.push((placed, summary.counted));
                }
                // The priority itself, which is listed before its filters, has handle 0.
                None if filter.at.handle == 0 => {}
                None => survey.others.push((filter.at.chain, filter.at.priority)),
            }
            Ok(())
        },
    )
}

impl<T: Transport> Tc<T> {
    pub(super) fn remove_all(&mut self) -> Result<(), TcError> {
        self.strays.clear();
        self.found.clear();
        for ifindex in self.interfaces() {
            let ours = survey(&mut self.client, ifindex)?.ours;
            self.remove_placed(&ours)?;
            self.table.retain_on(ifindex, |_| false);
        }
        self.release_qdiscs()
    }

    /// Takes away the qdiscs that we made, where there is nothing on them.
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

    /// Takes filters out; one that is not there any more is no error.
    fn remove_placed(&mut self, placed: &[(Placed, Counted)]) -> Result<(), TcError> {
        let mut batch = self.client.batch();
        for (filter, _) in placed {
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

/// Are there no filters at all, on the way in and out?
fn is_empty<T: Transport>(client: &mut Client<T>, ifindex: u32) -> Result<bool, WireError> {
    Ok(no_filters(client, ifindex, TC_H_INGRESS_FILTERS)?
        && no_filters(client, ifindex, TC_H_EGRESS_FILTERS)?)
}

/// Are there no filters on the way out?
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
