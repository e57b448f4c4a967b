// SPDX-License-Identifier: GPL-2.0
/* One frame from a function: its key, its way through the chains, and what the rules do to it. */
#include <linux/icmpv6.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/mpls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/tc_act/tc_csum.h>
#include <net/checksum.h>
#include <net/ip.h>
#include <net/mpls.h>
#include <net/tc_act/tc_mpls.h>

#include "swsim.h"

/* Chains that one frame may pass; what goes on longer is a loop of gotos and counts as a miss. */
#define MAX_HITS 16

/* A frame on its way through the card. */
struct walk {
	struct sk_buff *skb;
	struct sk_buff_head out;	/* outputs so far; skb->dev: the target's representor */
	struct sw_rule *hit[MAX_HITS];
	unsigned int length[MAX_HITS];	/* the frame's length at each hit */
	int n_hits;
	/* Of the innermost network header, as of the last lookup: */
	__be16 type;
	u8 proto;
	bool fragment_tail;		/* a fragment without a transport header */
	int header_length;		/* network header with extensions; 0: no transport header */
	/* What edits did to the sums over addresses and transport header, until a csum action. */
	__wsum address_change, transport_change;
};

static struct flow_dissector dissector;

#define TARGET(key, field) \
	{ .key_id = FLOW_DISSECTOR_KEY_##key, .offset = offsetof(struct sw_key, field) }
static const struct flow_dissector_key dissector_keys[] = {
	TARGET(CONTROL, control), TARGET(BASIC, basic), TARGET(IPV4_ADDRS, ipv4),
	TARGET(IPV6_ADDRS, ipv6), TARGET(PORTS, ports), TARGET(VLAN, vlan),
	TARGET(CVLAN, cvlan), TARGET(IP, ip), TARGET(TCP, tcp), TARGET(ICMP, icmp),
	TARGET(ARP, arp), TARGET(MPLS, mpls),
};

void sw_packet_start(void)
{
	skb_flow_dissector_init(&dissector, dissector_keys, ARRAY_SIZE(dissector_keys));
}

/* Hands a frame to a netdev of the card as received. */
void sw_deliver(struct sk_buff *skb, struct net_device *to)
{
	if (!(to->flags & IFF_UP)) {
		DEV_STATS_INC(to, rx_dropped);
		kfree_skb(skb);
		return;
	}
	sw_capture(skb, to);
	skb_orphan(skb);
	skb_scrub_packet(skb, true);
	skb->ip_summed = CHECKSUM_NONE;	/* the receiver checks what the card made */
	DEV_STATS_INC(to, rx_packets);
	DEV_STATS_ADD(to, rx_bytes, skb->len);
	skb->protocol = eth_type_trans(skb, to);
	netif_rx(skb);
}

static __be16 *outer_type(struct sk_buff *skb)
{
	return &((struct ethhdr *)skb->data)->h_proto;
}

/* Offset of the network header: behind the Ethernet header and all tags. */
static int network_offset(const struct sk_buff *skb)
{
	int at = ETH_HLEN;
	__be16 type = ((const struct ethhdr *)skb->data)->h_proto;

	while (eth_type_vlan(type) && at + VLAN_HLEN <= skb->len) {
		type = ((const struct vlan_hdr *)(skb->data + at))->h_vlan_encapsulated_proto;
		at += VLAN_HLEN;
	}
	return at;
}

static void extract(struct walk *w, struct sw_key *key)
{
	const struct ethhdr *eth = (const struct ethhdr *)w->skb->data;

	memset(key, 0, sizeof(*key));
	/* The same dissector and flags as flower's own: one meaning in hardware and software. */
	__skb_flow_dissect(&init_net, NULL, &dissector, key, w->skb->data, eth->h_proto, ETH_HLEN,
			   w->skb->len, FLOW_DISSECTOR_F_STOP_BEFORE_ENCAP);
	ether_addr_copy(key->eth.dst, eth->h_dest);
	ether_addr_copy(key->eth.src, eth->h_source);
	key->outer_type = eth->h_proto;
	w->type = key->basic.n_proto;
	w->proto = key->basic.ip_proto;
	w->fragment_tail = (key->control.flags & FLOW_DIS_IS_FRAGMENT) &&
			   !(key->control.flags & FLOW_DIS_FIRST_FRAG);
	w->header_length = key->control.thoff - network_offset(w->skb);
}

static bool matches(const struct sw_rule *rule, const struct sw_key *key)
{
	const long *k = (const long *)key, *v = (const long *)&rule->key;
	const long *m = (const long *)&rule->mask;
	int i;

	for (i = 0; i < sizeof(*key) / sizeof(long); i++)
		if ((k[i] & m[i]) != v[i])
			return false;
	return true;
}

static struct sw_rule *lookup(const struct sw_port *port, u32 chain, const struct sw_key *key)
{
	struct sw_rule *r;

	list_for_each_entry(r, &sw_rules, node)
		if (r->in == port->peer && r->chain == chain && matches(r, key))
			return r;
	return NULL;
}

/* Makes room for n bytes behind the Ethernet addresses, or takes them away. */
static bool grow(struct sk_buff *skb, int n)
{
	if (skb_cow_head(skb, n))
		return false;
	skb_push(skb, n);
	memmove(skb->data, skb->data + n, 2 * ETH_ALEN);
	return true;
}

static void shrink(struct sk_buff *skb, int n)
{
	memmove(skb->data + n, skb->data, 2 * ETH_ALEN);
	skb_pull(skb, n);
}

static bool push_vlan(struct sk_buff *skb, const struct flow_action_entry *a)
{
	if (!grow(skb, VLAN_HLEN))
		return false;
	*outer_type(skb) = a->vlan.proto;
	put_unaligned_be16(a->vlan.vid | a->vlan.prio << VLAN_PRIO_SHIFT, skb->data + ETH_HLEN);
	return true;
}

static void change_vlan(struct sk_buff *skb, const struct flow_action_entry *a)
{
	u16 tci = get_unaligned_be16(skb->data + ETH_HLEN);

	*outer_type(skb) = a->vlan.proto;
	tci = (tci & ~VLAN_VID_MASK) | a->vlan.vid;
	put_unaligned_be16(tci, skb->data + ETH_HLEN);
}

static bool push_mpls(struct sk_buff *skb, const struct flow_action_entry *a)
{
	u32 bottom = a->mpls_push.bos;
	bool first = !eth_p_mpls(*outer_type(skb));

	if (!grow(skb, MPLS_HLEN))
		return false;
	if (a->mpls_push.bos == ACT_MPLS_BOS_NOT_SET)
		bottom = first;
	*outer_type(skb) = a->mpls_push.proto;
	put_unaligned_be32(a->mpls_push.label << MPLS_LS_LABEL_SHIFT |
			   a->mpls_push.tc << MPLS_LS_TC_SHIFT | bottom << MPLS_LS_S_SHIFT |
			   a->mpls_push.ttl, skb->data + ETH_HLEN);
	return true;
}

static void pop_mpls(struct sk_buff *skb, const struct flow_action_entry *a)
{
	shrink(skb, MPLS_HLEN);
	*outer_type(skb) = a->mpls_pop.proto;
}

static void change_mpls(struct sk_buff *skb, const struct flow_action_entry *a)
{
	u32 lse = get_unaligned_be32(skb->data + ETH_HLEN);

	if (a->mpls_mangle.label != ACT_MPLS_LABEL_NOT_SET)
		lse = (lse & ~MPLS_LS_LABEL_MASK) | a->mpls_mangle.label << MPLS_LS_LABEL_SHIFT;
	if (a->mpls_mangle.tc != ACT_MPLS_TC_NOT_SET)
		lse = (lse & ~MPLS_LS_TC_MASK) | a->mpls_mangle.tc << MPLS_LS_TC_SHIFT;
	if (a->mpls_mangle.bos != ACT_MPLS_BOS_NOT_SET)
		lse = (lse & ~MPLS_LS_S_MASK) | a->mpls_mangle.bos << MPLS_LS_S_SHIFT;
	if (a->mpls_mangle.ttl)
		lse = (lse & ~MPLS_LS_TTL_MASK) | a->mpls_mangle.ttl;
	put_unaligned_be32(lse, skb->data + ETH_HLEN);
}

/* Offset of the word that an edit means, or -1 where this frame has no such header. */
static int edit_offset(const struct walk *w, const struct flow_action_entry *a)
{
	int at = a->mangle.offset;
	bool transport = a->mangle.htype == FLOW_ACT_MANGLE_HDR_TYPE_TCP ||
			 a->mangle.htype == FLOW_ACT_MANGLE_HDR_TYPE_UDP;

	if (a->mangle.htype != FLOW_ACT_MANGLE_HDR_TYPE_ETH)
		at += network_offset(w->skb);
	if (transport && (w->fragment_tail || w->header_length <= 0))
		return -1;
	if (transport)
		at += w->header_length;
	return at + 4 <= w->skb->len ? at : -1;
}

/* One word of a pedit, with tc's own arithmetic; checksums are the csum action's job. */
static void edit(struct walk *w, const struct flow_action_entry *a)
{
	int at = edit_offset(w, a);
	u32 old, new;

	if (at < 0)
		return;
	old = get_unaligned((u32 *)(w->skb->data + at));
	new = a->id == FLOW_ACTION_ADD ? (old + a->mangle.val) & ~a->mangle.mask : a->mangle.val;
	new ^= old & a->mangle.mask;
	put_unaligned(new, (u32 *)(w->skb->data + at));
	switch (a->mangle.htype) {
	case FLOW_ACT_MANGLE_HDR_TYPE_IP4:
		if (a->mangle.offset < offsetof(struct iphdr, saddr))
			return;
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_IP6:
		if (a->mangle.offset < offsetof(struct ipv6hdr, saddr))
			return;
		break;
	case FLOW_ACT_MANGLE_HDR_TYPE_TCP:
	case FLOW_ACT_MANGLE_HDR_TYPE_UDP:
		w->transport_change = csum_add(w->transport_change, csum_sub((__force __wsum)new,
									     (__force __wsum)old));
		return;
	default:
		return;
	}
	w->address_change = csum_add(w->address_change,
				     csum_sub((__force __wsum)new, (__force __wsum)old));
}

static void fix_sum(struct walk *w, int field, __wsum change, bool zero_is_none)
{
	int at = network_offset(w->skb) + w->header_length + field;
	__sum16 sum;

	if (at + sizeof(sum) > w->skb->len)
		return;
	memcpy(&sum, w->skb->data + at, sizeof(sum));
	if (zero_is_none && !sum)
		return;
	csum_replace_by_diff(&sum, change);
	if (zero_is_none && !sum)
		sum = CSUM_MANGLED_0;
	memcpy(w->skb->data + at, &sum, sizeof(sum));
}

/*
 * Brings checksums up to date by what the edits changed. Done by difference, as a card does it:
 * right for the first fragment of a packet too, and a sum that came in wrong goes out wrong.
 */
static void csum(struct walk *w, u32 flags)
{
	struct iphdr *ip = (struct iphdr *)(w->skb->data + network_offset(w->skb));
	__wsum both = csum_add(w->address_change, w->transport_change);

	if (flags & TCA_CSUM_UPDATE_FLAG_IPV4HDR && w->type == htons(ETH_P_IP) &&
	    network_offset(w->skb) + sizeof(*ip) <= w->skb->len &&
	    network_offset(w->skb) + ip->ihl * 4 <= w->skb->len)
		ip_send_check(ip);
	if (w->fragment_tail || w->header_length <= 0)
		return;
	if (flags & TCA_CSUM_UPDATE_FLAG_TCP && w->proto == IPPROTO_TCP)
		fix_sum(w, offsetof(struct tcphdr, check), both, false);
	else if (flags & TCA_CSUM_UPDATE_FLAG_UDP && w->proto == IPPROTO_UDP)
		fix_sum(w, offsetof(struct udphdr, check), both, true);
	else if (flags & TCA_CSUM_UPDATE_FLAG_ICMP && w->proto == IPPROTO_ICMPV6)
		fix_sum(w, offsetof(struct icmp6hdr, icmp6_cksum), both, false);
	else	/* ICMP and SCTP sum over no address: nothing changed */
		return;
	w->address_change = 0;
	w->transport_change = 0;
}

static bool mirror(struct walk *w, struct net_device *to)
{
	struct sk_buff *copy = skb_copy(w->skb, GFP_ATOMIC);

	if (!copy)
		return false;
	copy->dev = to;
	__skb_queue_tail(&w->out, copy);
	return true;
}

/* Returns false where memory ran out: the frame goes up as a miss. */
static bool act(struct walk *w, const struct flow_action_entry *a)
{
	struct sk_buff *skb = w->skb;

	switch (a->id) {
	case FLOW_ACTION_MIRRED:
	case FLOW_ACTION_REDIRECT:
		/* A port that is gone: the rule is hit, and the frame goes nowhere. */
		return !a->dev || mirror(w, a->dev);
	case FLOW_ACTION_VLAN_PUSH:
		return push_vlan(skb, a);
	case FLOW_ACTION_VLAN_POP:	/* of an untagged frame: nothing, as in tc */
		if (eth_type_vlan(*outer_type(skb)) && skb->len >= VLAN_ETH_HLEN)
			shrink(skb, VLAN_HLEN);
		return true;
	case FLOW_ACTION_VLAN_MANGLE:
		if (eth_type_vlan(*outer_type(skb)) && skb->len >= VLAN_ETH_HLEN)
			change_vlan(skb, a);
		return true;
	case FLOW_ACTION_MPLS_PUSH:
		return push_mpls(skb, a);
	case FLOW_ACTION_MPLS_POP:
		if (eth_p_mpls(*outer_type(skb)) && skb->len >= ETH_HLEN + MPLS_HLEN)
			pop_mpls(skb, a);
		return true;
	case FLOW_ACTION_MPLS_MANGLE:
		if (eth_p_mpls(*outer_type(skb)) && skb->len >= ETH_HLEN + MPLS_HLEN)
			change_mpls(skb, a);
		return true;
	case FLOW_ACTION_MANGLE:
	case FLOW_ACTION_ADD:
		edit(w, a);
		return true;
	case FLOW_ACTION_CSUM:
		csum(w, a->csum_flags);
		return true;
	default:	/* drop, goto */
		return true;
	}
}

/*
 * Takes the frame through the chains. Returns false on a miss in any of them: a card that can't
 * hand its chain up with the packet (this kernel has no TC_SKB_EXT to receive it) must let the host
 * begin again with the untouched frame, so nothing of it may have been sent or counted.
 */
static bool forward(struct walk *w, const struct sw_port *port)
{
	const struct flow_action_entry *a;
	struct sw_rule *rule;
	struct sw_key key;
	u32 chain = 0;
	int i;

	do {
		extract(w, &key);
		rule = w->n_hits < MAX_HITS ? lookup(port, chain, &key) : NULL;
		if (!rule)
			return false;
		w->hit[w->n_hits] = rule;
		w->length[w->n_hits++] = w->skb->len;
		for (i = 0; i < rule->n_actions; i++) {
			a = &rule->actions[i];
			if (!act(w, a))
				return false;
			if (a->id == FLOW_ACTION_GOTO)
				chain = a->chain_index;
		}
	} while (rule->jumps);
	return true;
}

static void count(const struct walk *w)
{
	int i;

	for (i = 0; i < w->n_hits; i++) {
		w->hit[i]->packets++;
		w->hit[i]->bytes += w->length[i];
		w->hit[i]->used = jiffies;
	}
	sw_hits++;
}

/* A whole frame in one writable buffer, tags and checksums in place. */
static struct sk_buff *flatten(struct sk_buff *skb)
{
	if (skb->ip_summed == CHECKSUM_PARTIAL && skb_checksum_help(skb))
		goto drop;
	skb = skb_unshare(skb, GFP_ATOMIC);
	if (!skb)
		return NULL;
	if (skb_linearize(skb))
		goto drop;
	if (skb_vlan_tag_present(skb))
		skb = __vlan_hwaccel_push_inside(skb);
	return skb;
drop:
	kfree_skb(skb);
	return NULL;
}

/* A frame from a function or the cable: the table decides, or it comes up on the representor. */
void sw_from_function(struct sk_buff *skb, struct sw_port *port)
{
	struct walk w = {};
	struct sk_buff *out;
	bool hit;

	skb = flatten(skb);
	if (!skb)
		return;
	__skb_queue_head_init(&w.out);
	spin_lock_bh(&sw_lock);
	w.skb = list_empty(&sw_rules) ? NULL : skb_copy(skb, GFP_ATOMIC);
	hit = w.skb && forward(&w, port);
	if (hit)
		count(&w);
	else
		sw_misses++;
	spin_unlock_bh(&sw_lock);
	while ((out = __skb_dequeue(&w.out))) {
		if (hit)
			sw_deliver(out, ((struct sw_port *)netdev_priv(out->dev))->peer);
		else
			kfree_skb(out);
	}
	if (w.skb)
		consume_skb(w.skb);
	if (hit)
		consume_skb(skb);
	else
		sw_deliver(skb, port->peer);
}
