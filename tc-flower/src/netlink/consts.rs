//! Numbers of the kernel's user interface: `linux/netlink.h`, `rtnetlink.h`, `pkt_cls.h`,
//! `tc_act/*.h`, `gen_stats.h`, `if_link.h`. The names are the kernel's.

/// Family of a message about a link itself.
pub(crate) const AF_UNSPEC: u8 = 0;
pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_ECHO: u16 = 0x8;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
/// In an answer: the request's payload is left out of the error message.
pub(crate) const NLM_F_CAPPED: u16 = 0x100;
/// In an answer: extended-ack attributes follow.
pub(crate) const NLM_F_ACK_TLVS: u16 = 0x200;

pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLMSG_OVERRUN: u16 = 4;
pub(crate) const NLMSGERR_ATTR_MSG: u16 = 1;

pub(crate) const NLA_F_NESTED: u16 = 0x8000;
/// The mask of an attribute's type, which excludes the nested and byte-order flags.
pub(crate) const NLA_TYPE_MASK: u16 = 0x3fff;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_NEWQDISC: u16 = 36;
pub(crate) const RTM_DELQDISC: u16 = 37;
pub(crate) const RTM_NEWTFILTER: u16 = 44;
pub(crate) const RTM_DELTFILTER: u16 = 45;
pub(crate) const RTM_GETTFILTER: u16 = 46;
pub(crate) const RTM_NEWSTATS: u16 = 92;
pub(crate) const RTM_GETSTATS: u16 = 94;
pub(crate) const RTNLGRP_LINK: u32 = 1;
pub(crate) const RTNLGRP_TC: u32 = 4;

/// The flag of an interface that is set up.
pub(crate) const IFF_UP: u32 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_PHYS_SWITCH_ID: u16 = 36;
pub(crate) const IFLA_PHYS_PORT_NAME: u16 = 38;

pub(crate) const IFLA_STATS_LINK_64: u16 = 1;
pub(crate) const IFLA_STATS_LINK_OFFLOAD_XSTATS: u16 = 4;
pub(crate) const IFLA_OFFLOAD_XSTATS_CPU_HIT: u16 = 1;

pub(crate) const TC_H_CLSACT: u32 = 0xffff_fff1;
/// The handle of every ingress and clsact qdisc.
pub(crate) const TC_H_INGRESS_MAJOR: u32 = 0xffff_0000;
/// The parent of ingress filters, as in `tc filter … ingress`; valid for both qdiscs.
pub(crate) const TC_H_INGRESS_FILTERS: u32 = 0xffff_fff2;
/// The parent of egress filters.
pub(crate) const TC_H_EGRESS_FILTERS: u32 = 0xffff_fff3;

pub(crate) const TCA_KIND: u16 = 1;
pub(crate) const TCA_OPTIONS: u16 = 2;
pub(crate) const TCA_CHAIN: u16 = 11;

pub(crate) const TCA_STATS_BASIC: u16 = 1;
pub(crate) const TCA_STATS_BASIC_HW: u16 = 7;
pub(crate) const TCA_STATS_PKT64: u16 = 8;

pub(crate) const TCA_ACT_KIND: u16 = 1;
pub(crate) const TCA_ACT_OPTIONS: u16 = 2;
pub(crate) const TCA_ACT_STATS: u16 = 4;
pub(crate) const TCA_ACT_COOKIE: u16 = 6;
pub(crate) const TCA_ACT_FLAGS: u16 = 7;
/// Present if the driver answered the request for statistics that the kernel makes before it
/// shows a filter.
pub(crate) const TCA_ACT_USED_HW_STATS: u16 = 9;
/// An action has one set of counters instead of one per CPU, because the hardware counts.
pub(crate) const TCA_ACT_FLAGS_NO_PERCPU_STATS: u32 = 1;

pub(crate) const TC_ACT_SHOT: u32 = 2;
pub(crate) const TC_ACT_PIPE: u32 = 3;
pub(crate) const TC_ACT_STOLEN: u32 = 4;
pub(crate) const TC_ACT_GOTO_CHAIN: u32 = 0x2000_0000;
/// The highest chain that a goto can name.
pub(crate) const TC_ACT_EXT_VAL_MASK: u32 = 0x0fff_ffff;

pub(crate) const TCA_GACT_TM: u16 = 1;
pub(crate) const TCA_GACT_PARMS: u16 = 2;
pub(crate) const TCA_MIRRED_TM: u16 = 1;
pub(crate) const TCA_MIRRED_PARMS: u16 = 2;
pub(crate) const TCA_EGRESS_REDIR: u32 = 1;
pub(crate) const TCA_EGRESS_MIRROR: u32 = 2;
pub(crate) const TCA_VLAN_TM: u16 = 1;
pub(crate) const TCA_VLAN_PARMS: u16 = 2;
pub(crate) const TCA_VLAN_PUSH_VLAN_ID: u16 = 3;
pub(crate) const TCA_VLAN_PUSH_VLAN_PROTOCOL: u16 = 4;
pub(crate) const TCA_VLAN_PUSH_VLAN_PRIORITY: u16 = 6;
pub(crate) const TCA_VLAN_ACT_POP: u32 = 1;
pub(crate) const TCA_VLAN_ACT_PUSH: u32 = 2;
pub(crate) const TCA_PEDIT_TM: u16 = 1;
pub(crate) const TCA_PEDIT_PARMS_EX: u16 = 4;
pub(crate) const TCA_PEDIT_KEYS_EX: u16 = 5;
pub(crate) const TCA_PEDIT_KEY_EX: u16 = 6;
pub(crate) const TCA_PEDIT_KEY_EX_HTYPE: u16 = 1;
pub(crate) const TCA_PEDIT_KEY_EX_CMD: u16 = 2;
pub(crate) const TCA_PEDIT_KEY_EX_CMD_SET: u16 = 0;
pub(crate) const TCA_CSUM_PARMS: u16 = 1;
pub(crate) const TCA_CSUM_TM: u16 = 2;
pub(crate) const TCA_CSUM_UPDATE_FLAG_IPV4HDR: u32 = 1;
pub(crate) const TCA_CSUM_UPDATE_FLAG_ICMP: u32 = 2;
pub(crate) const TCA_CSUM_UPDATE_FLAG_TCP: u32 = 8;
pub(crate) const TCA_CSUM_UPDATE_FLAG_UDP: u32 = 16;
pub(crate) const TCA_MPLS_TM: u16 = 1;
pub(crate) const TCA_MPLS_PARMS: u16 = 2;
pub(crate) const TCA_MPLS_PROTO: u16 = 4;
pub(crate) const TCA_MPLS_LABEL: u16 = 5;
pub(crate) const TCA_MPLS_TC: u16 = 6;
pub(crate) const TCA_MPLS_TTL: u16 = 7;
pub(crate) const TCA_MPLS_BOS: u16 = 8;
pub(crate) const TCA_MPLS_ACT_POP: u32 = 1;
pub(crate) const TCA_MPLS_ACT_PUSH: u32 = 2;

/// Flower's attributes that are no keys.
pub(crate) const TCA_FLOWER_ACT: u16 = 3;
pub(crate) const TCA_FLOWER_FLAGS: u16 = 22;
pub(crate) const TCA_FLOWER_IN_HW_COUNT: u16 = 86;
/// The flags attributes of the other classifiers that can be in hardware.
pub(crate) const TCA_MATCHALL_FLAGS: u16 = 3;
pub(crate) const TCA_BPF_FLAGS_GEN: u16 = 9;
pub(crate) const TCA_U32_FLAGS: u16 = 11;
pub(crate) const TCA_CLS_FLAGS_SKIP_SW: u32 = 2;
pub(crate) const TCA_CLS_FLAGS_IN_HW: u32 = 4;
pub(crate) const TCA_CLS_FLAGS_NOT_IN_HW: u32 = 8;

pub(crate) const ETH_P_ALL: u16 = 0x0003;
pub(crate) const ETH_P_ARP: u16 = 0x0806;
pub(crate) const ETH_P_RARP: u16 = 0x8035;
pub(crate) const ETH_P_8021Q: u16 = 0x8100;
pub(crate) const ETH_P_8021AD: u16 = 0x88a8;
