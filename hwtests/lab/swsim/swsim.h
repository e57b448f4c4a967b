/* SPDX-License-Identifier: GPL-2.0 */
/*
 * swsim: a switchdev NIC in software, for tests.
 *
 *      wire0 ---- uplink, swp0 --+
 *                                |   the card: a flow table, and what its rules do
 *      swvf0 ---- VF 0, swrep0 --+
 *      swvf1 ---- VF 1, swrep1 --+
 *
 * Each port of the card has two ends: the function (or the cable's end) that a guest would own, and
 * the representor that the host owns. A frame that enters the card from a function is looked up in the
 * card's table: what a rule says happens in the card, a miss comes up on the representor. What the
 * host sends into a representor comes out at the function without a lookup.
 *
 * card.c    ports, their netdevs, module start and end
 * admit.c   one flower rule: is it within what the card can do, and what does it compile to
 * table.c   the table: install, remove, statistics, and the back door (debugfs)
 * packet.c  one frame: key, lookup through the chains, actions
 * capture.c what the card handed out lately, for tests to read
 */
#ifndef SWSIM_H
#define SWSIM_H

#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <net/flow_dissector.h>
#include <net/flow_offload.h>

/* The private area of both netdevs of a port. */
struct sw_port {
	struct net_device *dev;
	struct net_device *peer;	/* the port's other end */
	bool representor;
	int vf;				/* -1: the uplink */
};

/*
 * Everything that a rule can match. A rule holds one as its value and one as its mask; a frame is
 * taken apart into one. What no mask bit can reach stays zero in all of them.
 */
struct sw_key {
	struct flow_dissector_key_eth_addrs eth;
	__be16 outer_type;		/* the first EtherType of the frame: tc's "protocol" */
	__be16 pad;
	struct flow_dissector_key_basic basic;
	struct flow_dissector_key_ipv4_addrs ipv4;
	struct flow_dissector_key_ports ports;
	struct flow_dissector_key_vlan vlan;
	struct flow_dissector_key_vlan cvlan;
	struct flow_dissector_key_control control;
	struct flow_dissector_key_ip ip;
	struct flow_dissector_key_tcp tcp;
	struct flow_dissector_key_icmp icmp;
	struct flow_dissector_key_ipv6_addrs ipv6;
	struct flow_dissector_key_arp arp;
	struct flow_dissector_key_mpls mpls;
} __aligned(sizeof(long));

struct sw_rule {
	struct list_head node;
	unsigned long cookie;		/* flower's name for the rule */
	u32 id;				/* ours, for debugfs */
	struct net_device *in;		/* the representor whose ingress the rule is on */
	u32 chain, prio;
	bool jumps;			/* ends in a goto */
	struct sw_key key, mask;
	u64 packets, bytes;
	u64 told_packets, told_bytes;	/* as of the last FLOW_CLS_STATS */
	unsigned long used;		/* jiffies */
	unsigned int n_actions;
	struct flow_action_entry actions[];
};

/* Protects the table and everything in it; a frame is handled whole under it. */
extern spinlock_t sw_lock;
extern struct list_head sw_rules;	/* by chain and priority, ascending */
extern unsigned long sw_hits, sw_misses;

/* Does the action send the frame, or a copy, to a port? */
static inline bool sw_sends(const struct flow_action_entry *a)
{
	return a->id == FLOW_ACTION_REDIRECT || a->id == FLOW_ACTION_MIRRED;
}

bool sw_is_representor(const struct net_device *dev);

struct sw_rule *sw_admit(struct sw_port *port, struct flow_cls_offload *f);

int sw_setup_block(struct sw_port *port, struct flow_block_offload *f);
void sw_table_start(void);
void sw_table_stop(void);
void sw_forget(const struct net_device *rep);

void sw_packet_start(void);
void sw_from_function(struct sk_buff *skb, struct sw_port *port);
void sw_deliver(struct sk_buff *skb, struct net_device *to);

struct dentry;
void sw_card_start(struct dentry *debug_dir);
void sw_capture_start(struct dentry *debug_dir);
void sw_capture(const struct sk_buff *skb, const struct net_device *to);

#endif
