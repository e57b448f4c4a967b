//! Seeded packets of every protocol that the key knows, and damage done to them.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod build;
pub(crate) mod checks;
pub(crate) mod fuzz;

/// SplitMix64: the same packets on every machine.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn wide(&mut self) -> u128 {
        u128::from(self.word()) << 64 | u128::from(self.word())
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.word() % end.max(1) as u64) as usize
    }

    /// True once in `n`.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.word() as u8
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn pick_ref<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(crate) fn fill(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// A frame: mostly sound, with the lies that a sender can tell.
pub(crate) fn compose(rng: &mut Rng) -> Vec<u8> {
    let mut frame = rng.fill(12);
    for _ in 0..rng.pick(&[0, 0, 0, 1, 1, 2, 2, 3]) {
        frame.extend(rng.pick::<u16>(&[0x8100, 0x8100, 0x88a8, 0x9100]).to_be_bytes());
        frame.extend(rng.fill(2));
    }
    let eth_type = rng.pick::<u16>(&[
        0x800, 0x800, 0x800, 0x800, 0x86dd, 0x86dd, 0x86dd, 0x86dd, 0x806, 0x8035, 0x8847, 0x8848,
        0x88cc, 0x894f, 0x05ff, 0x600,
    ]);
    let payload = match eth_type {
        0x800 => ipv4(rng),
        0x86dd => ipv6(rng),
        0x806 | 0x8035 => arp(rng),
        0x8847 | 0x8848 => mpls(rng),
        0x894f => nsh(rng),
        _ => {
            let count = rng.below(60);
            rng.fill(count)
        }
    };
    if rng.one_in(8) {
        frame.extend(((payload.len() + 8) as u16).to_be_bytes());
        let organisation = rng.pick(&[[0, 0, 0], [0, 0, 0], [0, 0, 0xf8]]);
        frame.extend(rng.pick(&[[0xaa, 0xaa, 3], [0xaa, 0xaa, 3], [0x42, 0x42, 3]]));
        frame.extend(organisation);
    }
    frame.extend(eth_type.to_be_bytes());
    frame.extend(payload);
    if rng.one_in(4) {
        let padding = rng.below(40);
        frame.extend(rng.fill(padding));
    }
    frame
}

/// Cuts, stretches, flips bits and writes bytes that parsers like to trip over.
pub(crate) fn damage(rng: &mut Rng, frame: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let at = rng.below(frame.len());
        match rng.below(6) {
            0 => frame.truncate(at.max(1)),
            1 | 2 if !frame.is_empty() => frame[at] ^= 1 << rng.below(8),
            3 if !frame.is_empty() => frame[at] = rng.pick(&[0, 1, 0x7f, 0x80, 0xff, 4, 5, 44, 60]),
            4 => {
                let count = rng.below(30);
                frame.extend(rng.fill(count));
            }
            _ => {
                // A small number of header bytes decides most of what the parser does.
                let at = rng.pick(&[12, 13, 14, 16, 17, 18, 20, 21, 22, 23, 46, 47, 54, 55]);
                if at < frame.len() {
                    frame[at] = rng.byte();
                }
            }
        }
    }
}

/// Mostly the true length, else a lie.
fn length(rng: &mut Rng, truth: usize) -> [u8; 2] {
    let length = match rng.below(12) {
        0 => rng.below(0x1_0000),
        1 => truth + rng.below(4),
        2 => truth.saturating_sub(rng.below(30)),
        _ => truth,
    };
    (length as u16).to_be_bytes()
}

fn ipv4(rng: &mut Rng) -> Vec<u8> {
    let options = rng.pick(&[0, 0, 0, 4, 8, 40]);
    let protocol = rng.pick(&[6, 6, 17, 17, 132, 1, 2, 58, 47, 0, 44]);
    let body = transport(rng, protocol);
    let ihl = if rng.one_in(16) { rng.byte() & 15 } else { 5 + (options / 4) as u8 };
    let version = if rng.one_in(16) { rng.byte() & 0xf0 } else { 0x40 };
    let mut out = vec![version | ihl, rng.byte()];
    out.extend(length(rng, 20 + options + body.len()));
    out.extend(rng.fill(2));
    let fragment =
        rng.pick::<u16>(&[0, 0, 0, 0x4000, 0x2000, 0x2001, 0x00b9, 0x1fff, 0x8000, 0x6000]);
    out.extend(fragment.to_be_bytes());
    out.extend([rng.byte(), protocol]);
    out.extend(rng.fill(10 + options));
    out.extend(body);
    out
}

fn ipv6(rng: &mut Rng) -> Vec<u8> {
    let protocol = rng.pick(&[6, 6, 17, 17, 132, 58, 58, 58, 1, 2, 59, 47]);
    let mut next = protocol;
    let mut body = transport(rng, protocol);
    for _ in 0..rng.pick(&[0, 0, 0, 1, 1, 2, 3, 5]) {
        let kind = rng.pick(&[0, 43, 44, 51, 60]);
        let mut header = extension(rng, kind, next);
        header.extend(body);
        (body, next) = (header, kind);
    }
    let mut out = vec![0x60 | rng.byte() & 15];
    out.extend(rng.fill(3));
    out.extend(length(rng, body.len()));
    out.extend([next, rng.byte()]);
    for _ in 0..2 {
        let zeros = rng.pick(&[0, 0, 8, 10, 12, 14, 15, 16]);
        out.extend(vec![0; zeros]);
        out.extend(rng.fill(16 - zeros));
    }
    out.extend(body);
    out
}

fn extension(rng: &mut Rng, kind: u8, next: u8) -> Vec<u8> {
    let units = rng.pick(&[0, 0, 0, 1, 2]);
    let lie = if rng.one_in(16) { rng.byte() } else { units };
    let mut out = vec![next, lie];
    match kind {
        44 => {
            let word = rng.pick::<u16>(&[0, 0, 1, 1, 2, 4, 6, 8, 9, 0x1008, 0xffff]);
            out.extend(word.to_be_bytes());
            out.extend(rng.fill(4));
        }
        51 => out.extend(rng.fill((usize::from(units) + 2) * 4 - 2)),
        _ => out.extend(rng.fill((usize::from(units) + 1) * 8 - 2)),
    }
    out
}

fn transport(rng: &mut Rng, protocol: u8) -> Vec<u8> {
    let header = match protocol {
        6 => 20,
        132 => 12,
        _ => 8,
    };
    let mut out = rng.fill(header);
    match protocol {
        6 => {
            let options = rng.below(4) * 4;
            let offset = if rng.one_in(8) { rng.byte() >> 4 } else { 5 + (options / 4) as u8 };
            out[12] = offset << 4 | out[12] & 15;
            out.extend(rng.fill(options));
        }
        58 => {
            out[0] = rng.pick(&[128, 129, 133, 135, 135, 136, 136, 1]);
            out[1] = rng.pick(&[0, 0, 0, 1]);
            out.extend(rng.fill(16));
            for _ in 0..rng.below(3) {
                out.extend([rng.pick(&[1, 2, 1, 2, 5]), rng.pick(&[1, 1, 1, 0, 2])]);
                out.extend(rng.fill(6));
            }
        }
        1 => out[0] = rng.pick(&[0, 8, 3, 11]),
        _ => {}
    }
    let data = rng.pick(&[0, 0, 3, 16, 40]);
    out.extend(rng.fill(data));
    if rng.one_in(10) {
        out.truncate(rng.below(out.len()));
    }
    out
}

fn arp(rng: &mut Rng) -> Vec<u8> {
    let mut out = vec![0, 1, 8, 0, 6, 4, 0, rng.pick(&[1, 2, 3, 4, 9, 255])];
    if rng.one_in(8) {
        out[6] = rng.byte();
    }
    if rng.one_in(8) {
        let at = rng.below(6);
        out[at] = rng.byte();
    }
    out.extend(rng.fill(20));
    out
}

fn mpls(rng: &mut Rng) -> Vec<u8> {
    let count = rng.below(5);
    let mut out = Vec::new();
    for index in 0..count {
        let mut entry = rng.fill(4);
        let bottom = index + 1 == count || rng.one_in(8);
        entry[2] = entry[2] & 0xfe | u8::from(bottom);
        out.extend(entry);
    }
    out.extend(if rng.one_in(4) { Vec::new() } else { ipv4(rng) });
    out
}

fn nsh(rng: &mut Rng) -> Vec<u8> {
    let mut out = rng.fill(24);
    out[0] &= 0x3f;
    if !rng.one_in(4) {
        (out[1], out[2]) = (out[1] & 0xc0 | 6, 1);
    }
    out
}
