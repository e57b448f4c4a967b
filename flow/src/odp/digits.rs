//! Numbers and addresses as text, without the machinery of `write!`: a dump of a million megaflows
//! has tens of millions of them.

use std::net::Ipv4Addr;

use crate::MacAddr;

/// Appends a decimal number.
pub fn push_dec(out: &mut String, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = DIGITS[(value % 10) as usize & 15];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    push(out, &digits[at..]);
}

/// Appends a hexadecimal number without 0x, with this number of digits at least.
pub(super) fn push_hex(out: &mut String, mut value: u128, least: usize) {
    let mut digits = [b'0'; 32];
    let mut at = digits.len();
    while value != 0 {
        at -= 1;
        digits[at] = DIGITS[(value & 15) as usize];
        value >>= 4;
    }
    push(out, &digits[at.min(digits.len().saturating_sub(least))..]);
}

pub(super) fn push_ipv4(out: &mut String, address: Ipv4Addr) {
    for (place, byte) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push('.');
        }
        push_dec(out, byte.into());
    }
}

pub(super) fn push_mac(out: &mut String, address: MacAddr) {
    for (place, byte) in address.0.into_iter().enumerate() {
        if place > 0 {
            out.push(':');
        }
        push_hex(out, byte.into(), 2);
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn push(out: &mut String, digits: &[u8]) {
    // The digits are ASCII.
    out.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(push: impl FnOnce(&mut String)) -> String {
        let mut out = "x".to_owned();
        push(&mut out);
        out
    }

    #[test]
    fn numbers_are_those_of_the_formatter() {
        let mut state = 1_u64;
        for round in 0..100_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = if round == 0 { 0 } else { state >> (round % 64) };
            let wide = u128::from(value) << (round % 65);
            assert_eq!(said(|out| push_dec(out, value)), format!("x{value}"));
            assert_eq!(said(|out| push_hex(out, wide, 1)), format!("x{wide:x}"));
            assert_eq!(said(|out| push_hex(out, wide, 4)), format!("x{wide:04x}"));
            let [a, b, c, d, e, f, ..] = value.to_be_bytes();
            let (ip, mac) = (Ipv4Addr::new(a, b, c, d), MacAddr([a, b, c, d, e, f]));
            assert_eq!(said(|out| push_ipv4(out, ip)), format!("x{ip}"));
            assert_eq!(said(|out| push_mac(out, mac)), format!("x{mac}"));
        }
    }
}
