// SPDX-License-Identifier: GPL-2.0
/* The flow table: what tc asks of it, and a back door for tests. */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <net/pkt_cls.h>

#include "swsim.h"

DEFINE_SPINLOCK(sw_lock);
LIST_HEAD(sw_rules);

static int max_rules = 1024;
module_param(max_rules, int, 0644);
MODULE_PARM_DESC(max_rules, "capacity of the flow table; a change leaves what is in it");

/* How often tc called, and what frames from the functions met. */
static unsigned long n_replace, n_destroy, n_stats;
module_param(n_replace, ulong, 0444);
module_param(n_destroy, ulong, 0444);
module_param(n_stats, ulong, 0444);
unsigned long sw_hits, sw_misses;
module_param_named(n_hit, sw_hits, ulong, 0444);
module_param_named(n_miss, sw_misses, ulong, 0444);

static int n_rules;
static u32 last_id;
static LIST_HEAD(block_cbs);
static struct dentry *debug_dir;

static void insert(struct sw_rule *rule)
{
	struct list_head *at = &sw_rules;
	struct sw_rule *r;

	list_for_each_entry(r, &sw_rules, node)
		if (r->chain > rule->chain || (r->chain == rule->chain && r->prio > rule->prio)) {
			at = &r->node;
			break;
		}
	rule->id = ++last_id;
	list_add_tail(&rule->node, at);
	n_rules++;
}

static void delete(struct sw_rule *rule)
{
	list_del(&rule->node);
	n_rules--;
	kfree(rule);
}

static int install(struct sw_port *port, struct flow_cls_offload *f)
{
	struct sw_rule *rule = sw_admit(port, f);

	if (IS_ERR(rule))
		return PTR_ERR(rule);
	spin_lock_bh(&sw_lock);
	if (n_rules >= max_rules) {
		spin_unlock_bh(&sw_lock);
		kfree(rule);
		NL_SET_ERR_MSG_MOD(f->common.extack, "flow table full");
		return -ENOSPC;
	}
	insert(rule);
	n_replace++;
	spin_unlock_bh(&sw_lock);
	return 0;
}

/* A shared block calls once for each of its ports, with the same cookie: a rule for each port. */
static struct sw_rule *find(struct sw_port *port, unsigned long cookie)
{
	struct sw_rule *r;

	list_for_each_entry(r, &sw_rules, node)
		if (r->cookie == cookie && r->in == port->dev)
			return r;
	return NULL;
}

/*
 * Statistics of the hardware. "bytes" counts whole Ethernet frames with their VLAN tags and without
 * FCS, as mlx5's flow counters do: `Sent hardware N bytes` has the 14 bytes of the Ethernet header,
 * unlike `Sent software N bytes`, which tc counts from the network header on. A rule further along
 * a chain counts the frame as it is there, after the edits on the way.
 */
static void stats(struct sw_rule *rule, struct flow_stats *stats)
{
	n_stats++;
	flow_stats_update(stats, rule->bytes - rule->told_bytes, rule->packets - rule->told_packets,
			  0, rule->used, FLOW_ACTION_HW_STATS_DELAYED);
	rule->told_bytes = rule->bytes;
	rule->told_packets = rule->packets;
}

static int block_cb(enum tc_setup_type type, void *data, void *priv)
{
	struct flow_cls_offload *f = data;
	struct sw_rule *rule;
	int err = 0;

	if (type != TC_SETUP_CLSFLOWER)
		return -EOPNOTSUPP;
	if (f->command == FLOW_CLS_REPLACE)
		return install(priv, f);
	if (f->command != FLOW_CLS_DESTROY && f->command != FLOW_CLS_STATS)
		return -EOPNOTSUPP;
	spin_lock_bh(&sw_lock);
	rule = find(priv, f->cookie);
	if (!rule) {
		err = -ENOENT;
	} else if (f->command == FLOW_CLS_STATS) {
		stats(rule, &f->stats);
	} else {
		delete(rule);
		n_destroy++;
	}
	spin_unlock_bh(&sw_lock);
	return err;
}

int sw_setup_block(struct sw_port *port, struct flow_block_offload *f)
{
	return flow_block_cb_setup_simple(f, &block_cbs, block_cb, port, port, true);
}

/* debugfs swsim/rules: one line a rule, in lookup order. */
static int rules_show(struct seq_file *s, void *unused)
{
	struct sw_rule *r;

	spin_lock_bh(&sw_lock);
	list_for_each_entry(r, &sw_rules, node)
		seq_printf(s, "id %u port %s chain %u prio %u packets %llu bytes %llu\n", r->id,
			   r->in->name, r->chain, r->prio, r->packets, r->bytes);
	spin_unlock_bh(&sw_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(rules);

/*
 * debugfs swsim/drop_rule: an id, or 0 for all rules, leaves the card behind tc's back, as after a
 * card's reset or a firmware fault. tc can't see it: the filter still says in_hw, because the
 * kernel sets that flag only in answer to a driver's return value. Statistics requests find no rule
 * and the driver answers -ENOENT, which the kernel ignores: the counters stand still, and the dump
 * no longer has `used_hw_stats`. Frames miss and come up on the representor. A later
 * `tc filter del` works.
 */
static int drop_rule(void *unused, u64 id)
{
	struct sw_rule *r, *next;
	int err = id ? -ENOENT : 0;

	spin_lock_bh(&sw_lock);
	list_for_each_entry_safe(r, next, &sw_rules, node)
		if (!id || r->id == id) {
			delete(r);
			err = 0;
		}
	spin_unlock_bh(&sw_lock);
	return err;
}
DEFINE_DEBUGFS_ATTRIBUTE(drop_rule_ops, NULL, drop_rule, "%llu\n");

/* A representor is gone: no rule sends a frame there any more. */
void sw_forget(const struct net_device *rep)
{
	struct sw_rule *r;
	int i;

	spin_lock_bh(&sw_lock);
	list_for_each_entry(r, &sw_rules, node)
		for (i = 0; i < r->n_actions; i++)
			if (sw_sends(&r->actions[i]) && r->actions[i].dev == rep)
				r->actions[i].dev = NULL;
	spin_unlock_bh(&sw_lock);
}

void sw_table_start(void)
{
	debug_dir = debugfs_create_dir("swsim", NULL);
	debugfs_create_file("rules", 0444, debug_dir, NULL, &rules_fops);
	debugfs_create_file_unsafe("drop_rule", 0200, debug_dir, NULL, &drop_rule_ops);
	sw_card_start(debug_dir);
	sw_capture_start(debug_dir);
}

void sw_table_stop(void)
{
	debugfs_remove_recursive(debug_dir);
	drop_rule(NULL, 0);
}
