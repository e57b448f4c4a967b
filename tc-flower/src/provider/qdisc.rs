//! Makes the qdisc that holds our filters, and removes it at the end.

use crate::encode;
use crate::netlink::consts::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, RTM_DELQDISC, RTM_GETTFILTER, RTM_NEWQDISC,
    RTM_NEWTFILTER, TC_H_EGRESS_FILTERS, TC_H_INGRESS_FILTERS,
};
use crate::netlink::{NetlinkError, RequestSocket, Transport};

use super::errors::is_absent;

/// Makes the ingress of an interface ready. Returns true if the qdisc is new. An existing
/// `ingress` qdisc of another tool works as well as `clsact`.
pub(super) fn ensure<T: Transport>(
    client: &mut RequestSocket<T>,
    ifindex: u32,
) -> Result<bool, NetlinkError> {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    match client.request(RTM_NEWQDISC, flags, |w| encode::clsact(w, ifindex)) {
        Ok(()) => Ok(true),
        Err(NetlinkError::Refused(nack)) if nack.errno == libc::EEXIST => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the qdisc of an interface, unless it holds filters.
pub(super) fn remove<T: Transport>(
    client: &mut RequestSocket<T>,
    ifindex: u32,
) -> Result<(), NetlinkError> {
    if !is_empty(client, ifindex)? {
        return Ok(());
    }
    match client.request(RTM_DELQDISC, NLM_F_ACK, |w| encode::clsact(w, ifindex)) {
        Err(NetlinkError::Refused(nack)) if is_absent(&nack) => Ok(()),
        result => result,
    }
}

/// Returns true if the interface has no filters, neither at ingress nor at egress.
fn is_empty<T: Transport>(
    client: &mut RequestSocket<T>,
    ifindex: u32,
) -> Result<bool, NetlinkError> {
    Ok(no_filters(client, ifindex, TC_H_INGRESS_FILTERS)?
        && no_filters(client, ifindex, TC_H_EGRESS_FILTERS)?)
}

/// Returns true if the interface has no filters at egress.
pub(super) fn is_egress_empty<T: Transport>(
    client: &mut RequestSocket<T>,
    ifindex: u32,
) -> Result<bool, NetlinkError> {
    no_filters(client, ifindex, TC_H_EGRESS_FILTERS)
}

fn no_filters<T: Transport>(
    client: &mut RequestSocket<T>,
    ifindex: u32,
    parent: u32,
) -> Result<bool, NetlinkError> {
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
