//! The names of what OVS has and Megaflow does not.

use serde::{Deserialize, Serialize};

use std::fmt;

use super::detail::Words;

/// The name of a key, an action or an argument that OVS has and Megaflow does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OvsName {
    list: OvsList,
    index: u8,
}

/// Which of the tables a name is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum OvsList {
    Keys,
    Headers,
    Actions,
    Userspace,
}

impl OvsList {
    /// The names, and why Megaflow does not have what they stand for.
    pub(crate) fn names(self) -> &'static [(&'static str, Words)] {
        match self {
            OvsList::Keys => KEYS,
            OvsList::Headers => HEADERS,
            OvsList::Actions => ACTIONS,
            OvsList::Userspace => USERSPACE,
        }
    }
}

impl OvsName {
    /// The name, if it is in the table.
    pub(crate) fn find(list: OvsList, name: &str) -> Option<OvsName> {
        let index = list.names().iter().position(|(known, _)| *known == name)?;
        Some(OvsName { list, index: u8::try_from(index).ok()? })
    }

    /// The name, and why Megaflow does not have what it stands for.
    pub(crate) fn entry(self) -> (&'static str, Words) {
        self.list.names().get(usize::from(self.index)).copied().unwrap_or(("", &""))
    }
}

impl fmt::Display for OvsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = self.entry();
        match self.list {
            OvsList::Userspace => write!(f, "userspace({name})"),
            OvsList::Keys | OvsList::Headers | OvsList::Actions => f.write_str(name),
        }
    }
}

impl fmt::Debug for OvsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const CONNECTIONS: Words = &"Megaflow has no connection tracking";
const TUNNELS: Words = &"Megaflow has no tunnels";
const NEIGHBOURS: Words = &"Megaflow's keys have no fields of neighbour discovery";
const SERVICE_HEADERS: Words = &"Megaflow has no network service headers";
const ETHERNET: Words = &"every packet of Megaflow begins with an Ethernet header";
const KERNEL: Words = &"Megaflow's packets have no fields of the kernel's own";
const LISTS: Words = &"Megaflow's only action with a nested list is sample";
const USER: Words = &"Megaflow's userspace action takes pid= and userdata(…) only";

const KEYS: &[(&str, Words)] = &[
    ("skb_priority", KERNEL),
    ("skb_mark", KERNEL),
    ("ct_state", CONNECTIONS),
    ("ct_zone", CONNECTIONS),
    ("ct_mark", CONNECTIONS),
    ("ct_label", CONNECTIONS),
    ("ct_tuple4", CONNECTIONS),
    ("ct_tuple6", CONNECTIONS),
    ("tunnel", TUNNELS),
    ("nd", NEIGHBOURS),
    ("nd_ext", NEIGHBOURS),
    ("nsh", SERVICE_HEADERS),
    ("packet_type", ETHERNET),
];

const HEADERS: &[(&str, Words)] = &[("encap", &"Megaflow sets fields, not headers")];

const ACTIONS: &[(&str, Words)] = &[
    ("ct", CONNECTIONS),
    ("ct_clear", CONNECTIONS),
    ("meter", &"Megaflow has no meters"),
    ("clone", LISTS),
    ("check_pkt_len", LISTS),
    ("dec_ttl", LISTS),
    ("tnl_push", TUNNELS),
    ("tnl_pop", TUNNELS),
    ("push_eth", ETHERNET),
    ("pop_eth", ETHERNET),
    ("push_nsh", SERVICE_HEADERS),
    ("pop_nsh", SERVICE_HEADERS),
    ("add_mpls", &"Megaflow only pushes labels in front of a network header: use push_mpls"),
    ("psample", &"Megaflow only samples to ports and userspace: use sample"),
    ("lb_output", &"Megaflow has no bonds"),
];

const USERSPACE: &[(&str, Words)] = &[
    ("sFlow", USER),
    ("slow_path", USER),
    ("flow_sample", USER),
    ("ipfix", USER),
    ("controller", USER),
    ("actions", USER),
    ("tunnel_out_port", USER),
];
