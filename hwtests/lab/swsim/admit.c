// SPDX-License-Identifier: GPL-2.0
/*
 * Admission: a flower rule becomes a rule of the card, or is refused with an extended ack that
 * names the key, field or action that the card lacks.
 */
#include <linux/slab.h>
#include <linux/tc_act/tc_csum.h>
#include <net/pkt_cls.h>
#include <net/tc_act/tc_mpls.h>

#include "swsim.h"

/* Refuses with a text and leaves the caller with the errno. */
#define refuse(ack, fmt, ...) ({ NL_SET_ERR_MSG_FMT_MOD(ack, fmt, ##__VA_ARGS__); -EOPNOTSUPP; })

static const char * const unsupported_keys[FLOW_DISSECTOR_KEY_MAX] = {
	[FLOW_DISSECTOR_KEY_PORTS_RANGE] = "port ranges",
	[FLOW_DISSECTOR_KEY_FLOW_LABEL] = "the flow label",
	[FLOW_DISSECTOR_KEY_ENC_KEYID] = "the tunnel id",
	[FLOW_DISSECTOR_KEY_ENC_IPV4_ADDRS] = "tunnel addresses",
	[FLOW_DISSECTOR_KEY_ENC_IPV6_ADDRS] = "tunnel addresses",
	[FLOW_DISSECTOR_KEY_ENC_CONTROL] = "tunnel addresses",
	[FLOW_DISSECTOR_KEY_ENC_PORTS] = "tunnel ports",
	[FLOW_DISSECTOR_KEY_ENC_IP] = "tunnel tos and ttl",
	[FLOW_DISSECTOR_KEY_ENC_OPTS] = "tunnel options",
	[FLOW_DISSECTOR_KEY_META] = "the ingress device",
	[FLOW_DISSECTOR_KEY_CT] = "the conntrack state",
	[FLOW_DISSECTOR_KEY_HASH] = "the hash",
	[FLOW_DISSECTOR_KEY_NUM_OF_VLANS] = "the number of VLAN tags",
	[FLOW_DISSECTOR_KEY_PPPOE] = "PPPoE",
	[FLOW_DISSECTOR_KEY_L2TPV3] = "L2TP",
	[FLOW_DISSECTOR_KEY_CFM] = "CFM",
	[FLOW_DISSECTOR_KEY_IPSEC] = "IPsec",
};

static const char * const action_names[NUM_FLOW_ACTIONS] = {
	[FLOW_ACTION_ACCEPT] = "pass",
	[FLOW_ACTION_TRAP] = "trap",
	[FLOW_ACTION_REDIRECT_INGRESS] = "redirect to ingress",
	[FLOW_ACTION_MIRRED_INGRESS] = "mirror to ingress",
	[FLOW_ACTION_TUNNEL_ENCAP] = "tunnel_key set",
	[FLOW_ACTION_TUNNEL_DECAP] = "tunnel_key unset",
	[FLOW_ACTION_MARK] = "skbedit mark",
	[FLOW_ACTION_PTYPE] = "skbedit ptype",
	[FLOW_ACTION_PRIORITY] = "skbedit priority",
	[FLOW_ACTION_RX_QUEUE_MAPPING] = "skbedit queue_mapping",
	[FLOW_ACTION_SAMPLE] = "sample",
	[FLOW_ACTION_POLICE] = "police",
	[FLOW_ACTION_CT] = "ct",
	[FLOW_ACTION_GATE] = "gate",
	[FLOW_ACTION_PPPOE_PUSH] = "vlan push_eth and PPPoE",
	[FLOW_ACTION_JUMP] = "jump",
	[FLOW_ACTION_PIPE] = "pipe",
	[FLOW_ACTION_VLAN_PUSH_ETH] = "vlan push_eth",
	[FLOW_ACTION_VLAN_POP_ETH] = "vlan pop_eth",
	[FLOW_ACTION_CONTINUE] = "continue",
};

#define KEY(name) BIT_ULL(FLOW_DISSECTOR_KEY_##name)
#define SUPPORTED_KEYS (KEY(CONTROL) | KEY(BASIC) | KEY(ETH_ADDRS) | KEY(IPV4_ADDRS) | \
			KEY(IPV6_ADDRS) | KEY(PORTS) | KEY(VLAN) | KEY(CVLAN) | KEY(IP) | \
			KEY(TCP) | KEY(ICMP) | KEY(ARP) | KEY(MPLS))

static int admit_keys(const struct flow_rule *fr, struct netlink_ext_ack *ack)
{
	u64 left = fr->match.dissector->used_keys & ~SUPPORTED_KEYS;
	const char *name;

	if (!left)
		return 0;
	name = unsupported_keys[__ffs64(left)];
	if (name)
		return refuse(ack, "can't match %s", name);
	return refuse(ack, "can't match dissector key %d", (int)__ffs64(left));
}

/* Copies one part of the match: COPY(ip, IP, ip, ip) fills the rule's key.ip and mask.ip. */
#define COPY(field, KEY, kind, getter) do {					\
	if (flow_rule_match_key(fr, FLOW_DISSECTOR_KEY_##KEY)) {		\
		struct flow_match_##kind m;					\
		flow_rule_match_##getter(fr, &m);				\
		memcpy(&rule->key.field, m.key, sizeof(rule->key.field));	\
		memcpy(&rule->mask.field, m.mask, sizeof(rule->mask.field));	\
	}									\
} while (0)

static int admit_match(struct sw_rule *rule, const struct flow_rule *fr, __be16 protocol,
		       struct netlink_ext_ack *ack)
{
	u16 addresses = 0;
	u32 flags = 0;
	int i;

	if (admit_keys(fr, ack))
		return -EOPNOTSUPP;
	if (flow_rule_match_key(fr, FLOW_DISSECTOR_KEY_CONTROL)) {
		struct flow_match_control m;

		flow_rule_match_control(fr, &m);
		addresses = m.key->addr_type;
		flags = m.mask->flags;
		rule->key.control.flags = m.key->flags;
		rule->mask.control.flags = flags;
	}
	if (flags & ~(FLOW_DIS_IS_FRAGMENT | FLOW_DIS_FIRST_FRAG))
		return refuse(ack, "can't match control flags 0x%x", flags);
	COPY(basic, BASIC, basic, basic);
	COPY(eth, ETH_ADDRS, eth_addrs, eth_addrs);
	COPY(vlan, VLAN, vlan, vlan);
	COPY(cvlan, CVLAN, vlan, cvlan);
	COPY(ip, IP, ip, ip);
	COPY(ports, PORTS, ports, ports);
	COPY(tcp, TCP, tcp, tcp);
	COPY(icmp, ICMP, icmp, icmp);
	COPY(arp, ARP, arp, arp);
	COPY(mpls, MPLS, mpls, mpls);
	/* flower keeps both families in a union and sets both key bits: addr_type tells. */
	if (addresses == FLOW_DISSECTOR_KEY_IPV4_ADDRS)
		COPY(ipv4, IPV4_ADDRS, ipv4_addrs, ipv4_addrs);
	else if (addresses == FLOW_DISSECTOR_KEY_IPV6_ADDRS)
		COPY(ipv6, IPV6_ADDRS, ipv6_addrs, ipv6_addrs);
	/* tc compares "protocol" with the first EtherType: "protocol ip" is never tagged. */
	if (protocol != htons(ETH_P_ALL)) {
		rule->key.outer_type = protocol;
		rule->mask.outer_type = htons(0xffff);
	}
	for (i = 0; i < sizeof(rule->key); i++)
		((u8 *)&rule->key)[i] &= ((u8 *)&rule->mask)[i];
	return 0;
}

/* The header fields that the card can write, as 32-bit words in network order. */
static const struct {
	enum flow_action_mangle_base header;
	u32 from, to;		/* byte offsets of the first and last word */
	u32 writable;		/* as read from the wire, big endian */
} fields[] = {
	{ FLOW_ACT_MANGLE_HDR_TYPE_ETH, 0, 8, 0xffffffff },	/* both addresses */
	{ FLOW_ACT_MANGLE_HDR_TYPE_IP4, 0, 0, 0x00ff0000 },	/* tos */
	{ FLOW_ACT_MANGLE_HDR_TYPE_IP4, 8, 8, 0xff000000 },	/* ttl */
	{ FLOW_ACT_MANGLE_HDR_TYPE_IP4, 12, 16, 0xffffffff },	/* both addresses */
	{ FLOW_ACT_MANGLE_HDR_TYPE_IP6, 0, 0, 0x0ff00000 },	/* traffic class */
	{ FLOW_ACT_MANGLE_HDR_TYPE_IP6, 4, 4, 0x000000ff },	/* hop limit */
	{ FLOW_ACT_MANGLE_HDR_TYPE_IP6, 8, 36, 0xffffffff },	/* both addresses */
	{ FLOW_ACT_MANGLE_HDR_TYPE_TCP, 0, 0, 0xffffffff },	/* both ports */
	{ FLOW_ACT_MANGLE_HDR_TYPE_UDP, 0, 0, 0xffffffff },	/* both ports */
};

static bool matches_exactly(const struct sw_rule *rule, u16 type, u8 proto)
{
	if (rule->mask.basic.n_proto != htons(0xffff))
		return false;
	if (type && rule->key.basic.n_proto != htons(type))
		return false;
	return !proto || (rule->mask.basic.ip_proto == 0xff && rule->key.basic.ip_proto == proto);
}

static int admit_edit(const struct sw_rule *rule, const struct flow_action_entry *a,
		      struct netlink_ext_ack *ack)
{
	/* pedit's mask has the bits to keep. */
	u32 writes = ~ntohl((__force __be32)a->mangle.mask);
	const char *header = "?";
	bool there = true;
	int i;

	switch (a->mangle.htype) {
	case FLOW_ACT_MANGLE_HDR_TYPE_ETH:
		header = "Ethernet";
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_IP4:
		header = "IPv4", there = matches_exactly(rule, ETH_P_IP, 0);
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_IP6:
		header = "IPv6", there = matches_exactly(rule, ETH_P_IPV6, 0);
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_TCP:
		header = "TCP", there = matches_exactly(rule, 0, IPPROTO_TCP);
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_UDP:
		header = "UDP", there = matches_exactly(rule, 0, IPPROTO_UDP);
		break;
	default:
		return refuse(ack, "can't edit a packet without a header type");
	}
	if (!there)
		return refuse(ack, "can't edit the %s header: the rule does not match it", header);
	for (i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].header == a->mangle.htype && a->mangle.offset >= fields[i].from &&
		    a->mangle.offset <= fields[i].to && !(writes & ~fields[i].writable))
			return 0;
	return refuse(ack, "can't edit bits %08x at offset %u of the %s header", writes,
		      a->mangle.offset, header);
}

/* What is known of the packet while a rule's actions are gone through in order. */
struct progress {
	bool tagged, mpls;
};

static int admit_vlan(const struct sw_rule *rule, const struct flow_action_entry *a,
		      struct netlink_ext_ack *ack)
{
	if (a->id == FLOW_ACTION_VLAN_PUSH && !eth_type_vlan(a->vlan.proto))
		return refuse(ack, "can't push a VLAN tag with TPID %04x", ntohs(a->vlan.proto));
	/* The entry does not tell "priority 0" from "priority as it was": as mlx5. */
	if (a->id == FLOW_ACTION_VLAN_MANGLE &&
	    (rule->mask.vlan.vlan_priority != 7 || rule->key.vlan.vlan_priority != a->vlan.prio))
		return refuse(ack, "can't change a VLAN tag's priority: match it");
	return 0;
}

static int admit_action(const struct sw_rule *rule, const struct flow_action_entry *a,
			struct progress *so_far, struct netlink_ext_ack *ack)
{
	switch (a->id) {
	case FLOW_ACTION_DROP:
	case FLOW_ACTION_GOTO:
		return 0;
	case FLOW_ACTION_REDIRECT:
	case FLOW_ACTION_MIRRED:
		if (!sw_is_representor(a->dev))
			return refuse(ack, "%s is no port of this card", a->dev->name);
		return 0;
	case FLOW_ACTION_VLAN_PUSH:
		so_far->tagged = true;
		fallthrough;
	case FLOW_ACTION_VLAN_POP:
	case FLOW_ACTION_VLAN_MANGLE:
		return admit_vlan(rule, a, ack);
	case FLOW_ACTION_MANGLE:
	case FLOW_ACTION_ADD:
		if (so_far->mpls && a->mangle.htype != FLOW_ACT_MANGLE_HDR_TYPE_ETH)
			return refuse(ack, "can't edit a header behind an MPLS action");
		return admit_edit(rule, a, ack);
	case FLOW_ACTION_CSUM:
		if (a->csum_flags & TCA_CSUM_UPDATE_FLAG_UDPLITE)
			return refuse(ack, "can't update UDP-Lite checksums");
		return 0;
	case FLOW_ACTION_MPLS_PUSH:
	case FLOW_ACTION_MPLS_POP:
	case FLOW_ACTION_MPLS_MANGLE:
		if (so_far->tagged || rule->mask.outer_type != htons(0xffff))
			return refuse(ack, "can't do MPLS actions behind a VLAN tag");
		so_far->mpls = true;
		return 0;
	default:
		if (a->id < NUM_FLOW_ACTIONS && action_names[a->id])
			return refuse(ack, "can't do action %s", action_names[a->id]);
		return refuse(ack, "can't do action %d", a->id);
	}
}

static bool is_last(enum flow_action_id id)
{
	return id == FLOW_ACTION_DROP || id == FLOW_ACTION_REDIRECT || id == FLOW_ACTION_GOTO;
}

static int admit_actions(struct sw_rule *rule, const struct flow_rule *fr,
			 struct netlink_ext_ack *ack)
{
	struct progress so_far = { .tagged = eth_type_vlan(rule->key.outer_type) };
	const struct flow_action_entry *a;
	int i, err;

	if (!flow_action_hw_stats_check(&fr->action, ack, FLOW_ACTION_HW_STATS_DELAYED_BIT))
		return -EOPNOTSUPP;
	flow_action_for_each(i, a, &fr->action) {
		bool last = i + 1 == fr->action.num_entries;

		err = admit_action(rule, a, &so_far, ack);
		if (err)
			return err;
		if (is_last(a->id) && !last)
			return refuse(ack, "can't do actions after drop, redirect or goto");
		if (!is_last(a->id) && last)
			return refuse(ack, "the last action is no drop, redirect or goto");
		rule->jumps |= a->id == FLOW_ACTION_GOTO;
		rule->actions[i] = *a;
	}
	rule->n_actions = fr->action.num_entries;
	return rule->n_actions ? 0 : refuse(ack, "a rule without actions");
}

/* Compiles a flower rule. Returns an ERR_PTR after setting the extended ack; touches no table. */
struct sw_rule *sw_admit(struct sw_port *port, struct flow_cls_offload *f)
{
	const struct flow_rule *fr = flow_cls_offload_flow_rule(f);
	struct netlink_ext_ack *ack = f->common.extack;
	struct sw_rule *rule;
	int err;

	if (!tc_can_offload_extack(port->dev, ack))
		return ERR_PTR(-EOPNOTSUPP);
	rule = kzalloc(struct_size(rule, actions, fr->action.num_entries), GFP_KERNEL);
	if (!rule)
		return ERR_PTR(-ENOMEM);
	rule->cookie = f->cookie;
	rule->in = port->dev;
	rule->chain = f->common.chain_index;
	rule->prio = f->common.prio;
	rule->used = jiffies;
	err = admit_match(rule, fr, f->common.protocol, ack);
	if (!err)
		err = admit_actions(rule, fr, ack);
	if (err) {
		kfree(rule);
		return ERR_PTR(err);
	}
	return rule;
}
