// SPDX-License-Identifier: GPL-2.0
/* The card's ports and their netdevs. */
#include <linux/debugfs.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/module.h>
#include <linux/rtnetlink.h>
#include <net/pkt_cls.h>

#include "swsim.h"

#define MAX_VFS 64

static int nvf = 2;
module_param(nvf, int, 0444);
MODULE_PARM_DESC(nvf, "number of virtual functions");

static const char switch_id[8] = "swsim-0";
/* Of each port the representor and the function; the uplink is first. */
static struct net_device *devs[2 * (MAX_VFS + 1)];

static netdev_tx_t sw_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct sw_port *port = netdev_priv(dev);

	DEV_STATS_INC(dev, tx_packets);
	DEV_STATS_ADD(dev, tx_bytes, skb->len);
	if (port->representor)
		sw_deliver(skb, port->peer);
	else
		sw_from_function(skb, port);
	return NETDEV_TX_OK;
}

static int sw_setup_tc(struct net_device *dev, enum tc_setup_type type, void *data)
{
	struct sw_port *port = netdev_priv(dev);

	if (type != TC_SETUP_BLOCK || !port->representor)
		return -EOPNOTSUPP;
	return sw_setup_block(port, data);
}

static int sw_port_parent_id(struct net_device *dev, struct netdev_phys_item_id *id)
{
	if (!sw_is_representor(dev))
		return -EOPNOTSUPP;
	id->id_len = sizeof(switch_id);
	memcpy(id->id, switch_id, sizeof(switch_id));
	return 0;
}

static int sw_port_name(struct net_device *dev, char *buf, size_t len)
{
	struct sw_port *port = netdev_priv(dev);
	int n;

	if (!port->representor)
		return -EOPNOTSUPP;
	if (port->vf < 0)
		n = snprintf(buf, len, "p0");
	else
		n = snprintf(buf, len, "pf0vf%d", port->vf);
	return n >= len ? -EINVAL : 0;
}

/*
 * As on a real switchdev NIC a representor counts what its port carries, the other way round: all
 * that the function sent and received, through the table or not. What the CPU had of it, by the
 * representor's own queue, is told apart.
 */
static void sw_stats64(struct net_device *dev, struct rtnl_link_stats64 *stats)
{
	const struct sw_port *port = netdev_priv(dev);
	struct rtnl_link_stats64 peer;

	netdev_stats_to_stats64(stats, &dev->stats);
	if (!port->representor)
		return;
	netdev_stats_to_stats64(&peer, &port->peer->stats);
	stats->rx_packets = peer.tx_packets;
	stats->rx_bytes = peer.tx_bytes;
	stats->tx_packets = peer.rx_packets;
	stats->tx_bytes = peer.rx_bytes;
	stats->tx_dropped = peer.rx_dropped;
}

static bool sw_has_offload_stats(const struct net_device *dev, int attr)
{
	return attr == IFLA_OFFLOAD_XSTATS_CPU_HIT && sw_is_representor(dev);
}

static int sw_offload_stats(int attr, const struct net_device *dev, void *stats)
{
	if (!sw_has_offload_stats(dev, attr))
		return -EINVAL;
	netdev_stats_to_stats64(stats, &dev->stats);
	return 0;
}

static const struct net_device_ops sw_netdev_ops = {
	.ndo_start_xmit = sw_xmit,
	.ndo_setup_tc = sw_setup_tc,
	.ndo_get_port_parent_id = sw_port_parent_id,
	.ndo_get_phys_port_name = sw_port_name,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_get_stats64 = sw_stats64,
	.ndo_has_offload_stats = sw_has_offload_stats,
	.ndo_get_offload_stats = sw_offload_stats,
};

bool sw_is_representor(const struct net_device *dev)
{
	return dev->netdev_ops == &sw_netdev_ops &&
	       ((const struct sw_port *)netdev_priv(dev))->representor;
}

static void sw_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, "swsim", sizeof(info->driver));
}

static const struct ethtool_ops sw_ethtool_ops = {
	.get_drvinfo = sw_drvinfo,
	.get_link = ethtool_op_get_link,
};

/*
 * No checksum, segmentation, scatter-gather or VLAN features: the stack hands over whole frames,
 * tags and checksums in place, which is what a card has on the wire side of its table.
 */
static struct net_device *sw_make(bool representor, int vf)
{
	struct net_device *dev;
	struct sw_port *port;
	char name[IFNAMSIZ];

	if (vf < 0)
		strscpy(name, representor ? "swp0" : "wire0", sizeof(name));
	else
		snprintf(name, sizeof(name), representor ? "swrep%d" : "swvf%d", vf);
	dev = alloc_netdev(sizeof(struct sw_port), name, NET_NAME_USER, ether_setup);
	if (!dev)
		return NULL;
	port = netdev_priv(dev);
	port->dev = dev;
	port->representor = representor;
	port->vf = vf;
	dev->netdev_ops = &sw_netdev_ops;
	dev->ethtool_ops = &sw_ethtool_ops;
	dev->max_mtu = 9600;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->lltx = true;
	if (representor) {
		dev->features |= NETIF_F_HW_TC;
		dev->hw_features |= NETIF_F_HW_TC;
	}
	eth_hw_addr_random(dev);
	return dev;
}

static int sw_add_port(int vf)
{
	struct net_device **slot = &devs[2 * (vf + 1)];
	struct net_device *rep = sw_make(true, vf), *fun = sw_make(false, vf);
	int err = -ENOMEM;

	if (!rep || !fun)
		goto free;
	((struct sw_port *)netdev_priv(rep))->peer = fun;
	((struct sw_port *)netdev_priv(fun))->peer = rep;
	err = register_netdev(rep);
	if (err)
		goto free;
	err = register_netdev(fun);
	if (err) {
		unregister_netdev(rep);
		goto free;
	}
	slot[0] = rep;
	slot[1] = fun;
	return 0;
free:
	if (rep)
		free_netdev(rep);
	if (fun)
		free_netdev(fun);
	return err;
}

/* Both ends of all ports go before any is freed: a frame on its way still looks at its peer. */
static void sw_stop(void)
{
	int i;

	for (i = ARRAY_SIZE(devs) - 1; i >= 0; i--)
		if (devs[i])
			unregister_netdev(devs[i]);
	sw_table_stop();
	for (i = 0; i < ARRAY_SIZE(devs); i++) {
		if (devs[i])
			free_netdev(devs[i]);
		devs[i] = NULL;
	}
}

/*
 * debugfs swsim/recreate: the VF of this number goes and comes again, as after a change of
 * sriov_numvfs: the same port of the switch, with netdevs that have other ifindexes. The kernel
 * takes the filters on its representor away. Rules of other ports that send frames there stay, and
 * send them nowhere.
 */
static int recreate(void *unused, u64 vf)
{
	struct net_device **slot;
	int i;

	if (vf >= nvf)
		return -EINVAL;
	slot = &devs[2 * (vf + 1)];
	if (!slot[0])
		return -ENODEV;
	for (i = 1; i >= 0; i--)
		unregister_netdev(slot[i]);
	sw_forget(slot[0]);
	synchronize_net();
	for (i = 0; i < 2; i++) {
		free_netdev(slot[i]);
		slot[i] = NULL;
	}
	return sw_add_port(vf);
}
DEFINE_DEBUGFS_ATTRIBUTE(recreate_ops, NULL, recreate, "%llu\n");

void sw_card_start(struct dentry *debug_dir)
{
	debugfs_create_file_unsafe("recreate", 0200, debug_dir, NULL, &recreate_ops);
}

static int __init sw_init(void)
{
	int vf, err;

	if (nvf < 0 || nvf > MAX_VFS) {
		pr_err("swsim: nvf is %d, it can be 0 to %d\n", nvf, MAX_VFS);
		return -EINVAL;
	}
	sw_packet_start();
	sw_table_start();
	for (vf = -1; vf < nvf; vf++) {
		err = sw_add_port(vf);
		if (err) {
			sw_stop();
			return err;
		}
	}
	return 0;
}

module_init(sw_init);
module_exit(sw_stop);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A switchdev NIC in software, for tests");
