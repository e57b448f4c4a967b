//! Numbers and addresses as text, without the machinery of `write!`: a dump of a million megaflows
//! has tens of millions of them.

use std::net::Ipv4Addr;

use crate::MacAddr;

/// Appends a decimal number.
pub fn push_dec(out: &mut String, value: u64) {
    let lowest = (value % 1000) as usize;
    if value < 1000 {
        return push_short(out, lowest);
    }
    push_dec(out, value / 1000);
    out.push_str(&DECIMAL[3 * lowest..3 * lowest + 3]);
}

/// Appends a decimal number below 1000. A copy of a known length takes far less time, even if
/// some of it is cut off again.
#[inline]
fn push_short(out: &mut String, value: usize) {
    out.push_str(&SHORT_DECIMAL[3 * value..3 * value + 3]);
    out.truncate(out.len() - usize::from(value < 100) - usize::from(value < 10));
}

/// Appends a hexadecimal number without 0x, with this number of digits at least.
pub(super) fn push_hex(out: &mut String, value: u64, least: u32) {
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(least);
    for place in (0..digits).rev() {
        let digit = 2 * (value >> (4 * place) & 15) as usize + 1;
        out.push_str(&HEXADECIMAL[digit..digit + 1]);
    }
}

pub(super) fn push_ipv4(out: &mut String, address: Ipv4Addr) {
    for (place, byte) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push('.');
        }
        push_short(out, byte.into());
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
/// The same without zeros in front, and filled up behind.
static SHORT_DECIMAL: &str = as_text(&shortened(numbers(3, 10)));
/// The numbers below 256 in two hexadecimal digits each.
static HEXADECIMAL: &str = as_text(&numbers::<512>(2, 16));

const fn numbers<const N: usize>(digits: usize, radix: usize) -> [u8; N] {
    let (mut text, mut at) = ([0; N], 0);
    while at < N {
        let (mut value, mut place) = (at / digits, digits - 1 - at % digits);
        while place > 0 {
            (value, place) = (value / radix, place - 1);
        }
        text[at] = b"0123456789abcdef"[value % radix];
        at += 1;
    }
    text
}

const fn shortened(mut text: [u8; 3000]) -> [u8; 3000] {
    let mut at = 0;
    while at < 300 {
        let zeros = if at < 30 { 2 } else { 1 };
        (text[at], text[at + 1]) = (text[at + zeros], text[at + 2]);
        at += 3;
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
            assert_eq!(said(|out| push_dec(out, value)), format!("x{value}"));
            assert_eq!(said(|out| push_hex(out, value, 1)), format!("x{value:x}"));
            assert_eq!(said(|out| push_hex(out, value, 4)), format!("x{value:04x}"));
            let [a, b, c, d, e, f, ..] = value.to_be_bytes();
            let (ip, mac) = (Ipv4Addr::new(a, b, c, d), MacAddr([a, b, c, d, e, f]));
            assert_eq!(said(|out| push_ipv4(out, ip)), format!("x{ip}"));
            assert_eq!(said(|out| push_mac(out, mac)), format!("x{mac}"));
        }
    }
}
