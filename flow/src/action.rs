//! Actions: what a datapath does to the packets that hit a megaflow.

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use crate::field::Attr;
use crate::id::{PortId, RecircId};
use crate::key::{Key, Mask};

/// A list of actions, shared: flows, batches and devices refer to one copy. Empty is drop.
pub type Actions = Arc<[Action]>;

/// One action. Executed in order; rewrites are seen by the actions behind them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Send a copy out of the port.
    Output(PortId),
    /// Send a copy up to the client.
    Userspace(Userspace),
    /// Rewrite header fields.
    Set(Box<SetFields>),
    /// Put a tag in front: TPID and TCI. [`crate::VLAN_PRESENT`] must be set in the TCI and is
    /// left out on the wire.
    PushVlan {
        /// 0x8100 or 0x88a8.
        tpid: u16,
        /// VID, PCP and the presence bit.
        tci: u16,
    },
    /// Take the outer tag off; no effect on a packet without one.
    PopVlan,
    /// Put a label stack entry in front of the network header.
    PushMpls {
        /// The whole entry: label 20, class 3, bottom of stack 1, TTL 8.
        lse: u32,
        /// 0x8847 or 0x8848.
        eth_type: u16,
    },
    /// Take the outermost label stack entry off and change the EtherType.
    PopMpls {
        /// The new EtherType: that of the header or label under the entry.
        eth_type: u16,
    },
    /// Look up the packet, with its rewrites so far, again in the scope of this id.
    Recirc(RecircId),
    /// Compute `dp_hash` from the packet's key.
    Hash {
        /// The fields that the hash covers.
        algorithm: HashAlgorithm,
        /// The seed of the hash.
        basis: u32,
    },
    /// Cut the packet to this number of bytes, for the next output or userspace action only.
    Trunc(u32),
    /// Execute the nested actions on a copy, for a share of the packets.
    Sample {
        /// The share, out of 2³²−1: `u32::MAX` is always, 0 is never.
        probability: u32,
        /// The nested actions. They work on a copy: the packet itself stays as it was.
        actions: Actions,
    },
}

/// The arguments of a `userspace` action.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Userspace {
    /// The netlink port id that OVS names; kept for the text, not zero.
    pub pid: u32,
    /// Opaque bytes for the client, at most 65,512.
    #[serde(with = "crate::serial::hex")]
    pub userdata: Vec<u8>,
}

/// The fields that a `hash` action covers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum HashAlgorithm {
    /// Addresses, protocol and ports, in order.
    L4,
    /// The same fields without an order of source and destination, so that both directions of a
    /// connection get one value.
    SymL4,
}

/// A `set` action: the masked bits of `value` replace those of the packet. All fields belong to
/// one attribute of the text. One form serves for a `set` of a whole attribute and a masked set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SetFields {
    /// The attribute that the text names.
    pub attr: Attr,
    /// For [`Attr::Transport`] the IP protocol (6 tcp, 17 udp, 132 sctp, 1 icmp, 58 icmpv6), which
    /// the fields alone do not tell; for [`Attr::Ipv4`] 4 and for [`Attr::Ipv6`] 6, since the two
    /// share fields; otherwise 0.
    pub protocol: u8,
    /// The new bits. No bit outside the mask is set.
    pub value: Key,
    /// The bits that are replaced.
    pub mask: Mask,
}

/// An action's kind: what capabilities and refusals speak of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the same as the variants of Action")]
pub enum ActionKind {
    Output,
    Userspace,
    Set,
    PushVlan,
    PopVlan,
    PushMpls,
    PopMpls,
    Recirc,
    Hash,
    Trunc,
    Sample,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [ActionKind; 11] = [
        ActionKind::Output,
        ActionKind::Userspace,
        ActionKind::Set,
        ActionKind::PushVlan,
        ActionKind::PopVlan,
        ActionKind::PushMpls,
        ActionKind::PopMpls,
        ActionKind::Recirc,
        ActionKind::Hash,
        ActionKind::Trunc,
        ActionKind::Sample,
    ];

    /// The name as ODP text has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ActionKind::Output => "output",
            ActionKind::Userspace => "userspace",
            ActionKind::Set => "set",
            ActionKind::PushVlan => "push_vlan",
            ActionKind::PopVlan => "pop_vlan",
            ActionKind::PushMpls => "push_mpls",
            ActionKind::PopMpls => "pop_mpls",
            ActionKind::Recirc => "recirc",
            ActionKind::Hash => "hash",
            ActionKind::Trunc => "trunc",
            ActionKind::Sample => "sample",
        }
    }
}

impl Action {
    /// The action's kind.
    #[must_use]
    pub fn kind(&self) -> ActionKind {
        match self {
            Action::Output(_) => ActionKind::Output,
            Action::Userspace(_) => ActionKind::Userspace,
            Action::Set(_) => ActionKind::Set,
            Action::PushVlan { .. } => ActionKind::PushVlan,
            Action::PopVlan => ActionKind::PopVlan,
            Action::PushMpls { .. } => ActionKind::PushMpls,
            Action::PopMpls { .. } => ActionKind::PopMpls,
            Action::Recirc(_) => ActionKind::Recirc,
            Action::Hash { .. } => ActionKind::Hash,
            Action::Trunc(_) => ActionKind::Trunc,
            Action::Sample { .. } => ActionKind::Sample,
        }
    }
}
