// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs swsim/frames: the last frames that the card handed to any of its netdevs, oldest first,
 * one line each: netdev, length, bytes in hex as they were on the card's side. A packet socket on
 * the netdev would not do: the stack takes the outer VLAN tag off before it. Writing clears it.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "swsim.h"

#define FRAMES 64
#define BYTES 256

static struct {
	char dev[IFNAMSIZ];
	unsigned int length;
	u8 bytes[BYTES];
} ring[FRAMES];
static unsigned int recorded;	/* since the last clear */
static DEFINE_SPINLOCK(ring_lock);

void sw_capture(const struct sk_buff *skb, const struct net_device *to)
{
	unsigned int i;

	spin_lock_bh(&ring_lock);
	i = recorded++ % FRAMES;
	strscpy(ring[i].dev, to->name, sizeof(ring[i].dev));
	ring[i].length = skb->len;
	skb_copy_bits(skb, 0, ring[i].bytes, min_t(unsigned int, skb->len, BYTES));
	spin_unlock_bh(&ring_lock);
}

static int frames_show(struct seq_file *s, void *unused)
{
	unsigned int i;

	spin_lock_bh(&ring_lock);
	for (i = recorded > FRAMES ? recorded - FRAMES : 0; i < recorded; i++) {
		unsigned int at = i % FRAMES, j;

		seq_printf(s, "%s %u ", ring[at].dev, ring[at].length);
		for (j = 0; j < min_t(unsigned int, ring[at].length, BYTES); j++)
			seq_printf(s, "%02x", ring[at].bytes[j]);
		seq_putc(s, '\n');
	}
	spin_unlock_bh(&ring_lock);
	return 0;
}

static ssize_t frames_write(struct file *file, const char __user *buf, size_t n, loff_t *pos)
{
	spin_lock_bh(&ring_lock);
	recorded = 0;
	spin_unlock_bh(&ring_lock);
	return n;
}

static int frames_open(struct inode *inode, struct file *file)
{
	return single_open(file, frames_show, NULL);
}

static const struct file_operations frames_fops = {
	.open = frames_open, .read = seq_read, .write = frames_write,
	.llseek = seq_lseek, .release = single_release,
};

void sw_capture_start(struct dentry *debug_dir)
{
	debugfs_create_file("frames", 0600, debug_dir, NULL, &frames_fops);
}
