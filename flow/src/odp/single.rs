//! Attributes that are one value, printed.

use super::attr::print_hex;
use super::digits::push_hex;
use super::keys::TCP_FLAGS;
use super::vlan::ETH_TYPE_NONE;

/// `name(0x…[/0x…])`.
pub(super) fn print_u32(out: &mut String, name: &str, value: u32, mask: u32) {
    out.push_str(name);
    out.push('(');
    print_hex(out, value.into());
    print_mask(out, mask);
}

pub(super) fn print_mask(out: &mut String, mask: u32) {
    if mask != u32::MAX {
        out.push('/');
        print_hex(out, mask.into());
    }
    out.push(')');
}

/// `eth_type(0x0800[/0xff00])`; 802.2 as OVS prints it.
pub(super) fn print_eth_type(out: &mut String, value: u16, mask: u16) {
    if (value, mask) == (ETH_TYPE_NONE, 0xffff) {
        return out.push_str("eth_type(0/0xffff)");
    }
    out.push_str("eth_type(0x");
    push_hex(out, value.into(), 4);
    if mask != 0xffff {
        out.push_str("/0x");
        push_hex(out, mask.into(), 4);
    }
    out.push(')');
}

/// `tcp_flags(syn|ack)`, or `tcp_flags(+syn-ack)` under a mask.
pub(super) fn print_tcp_flags(out: &mut String, value: u16, mask: u16) {
    out.push_str("tcp_flags(");
    let bits = TCP_FLAGS.iter().enumerate().map(|(bit, name)| (1_u16 << bit, *name));
    if mask & 0xfff == 0xfff {
        let set: Vec<_> = bits.filter(|(bit, _)| value & bit != 0).map(|(_, name)| name).collect();
        out.push_str(&if set.is_empty() { "0".to_owned() } else { set.join("|") });
    } else {
        for (bit, name) in bits.filter(|(bit, _)| mask & bit != 0) {
            out.push(if value & bit != 0 { '+' } else { '-' });
            out.push_str(name);
        }
    }
    out.push(')');
}
