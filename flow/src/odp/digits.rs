//! Numbers and addresses as text, without the machinery of `write!`: a dump of a million megaflows
//! has tens of millions of them.

use std::net::Ipv4Addr;

use crate::MacAddr;

/// Appends a decimal number.
pub fn push_dec(out: &mut String, value: u64) {
    let (higher, lowest) = (value / 1000, (value % 1000) as usize);
    let zeros = if higher > 0 {
        push_dec(out, higher);
        0
    } else {
        usize::from(lowest < 100) + usize::from(lowest < 10)
    };
    out.push_str(&DECIMAL[3 * lowest + zeros..3 * lowest + 3]);
}

/// Appends a hexadecimal number without 0x, with this number of digits at least.
pub(super) fn push_hex(out: &mut String, value: u128, least: u32) {
    let digits = (128 - value.leading_zeros()).div_ceil(4).max(least);
    for place in (0..digits).rev() {
        let digit = (value >> (4 * place) & 15) as usize;
        out.push_str(&HEXADECIMAL[2 * digit + 1..2 * digit + 2]);
    }
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
        let at = 2 * usize::from(byte);
        out.push_str(&HEXADECIMAL[at..at + 2]);
    }
}

/// The numbers below 1000 in three digits each.
static DECIMAL: &str = as_text(&numbers::<3000>(3, 10));
/// The numbers below 256 in two hexadecimal digits each.
static HEXADECIMAL: &str = as_text(&numbers::<512>(2, 16));

const fn numbers<const N: usize>(digits: usize, radix: usize) -> [u8; N] {
    let (mut text, mut at) = ([0; N], 0);
    while at < N {
        let place = digits - 1 - at % digits;
        text[at] = b"0123456789abcdef"[at / digits / radix.pow(place as u32) % radix];
        at += 1;
    }
    text
}

const fn as_text(digits: &[u8]) -> &str {
    match std::str::from_utf8(digits) {
        Ok(text) => text,
        Err(_) => "",
    }
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
