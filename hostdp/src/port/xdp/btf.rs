//! The kernel's own types (BTF): a program calls a function of the kernel by the number of its
//! type. The format is `Documentation/bpf/btf.rst` of the kernel.

const MAGIC: u16 = 0xeb9f;
const FUNC: u32 = 12;

/// The number of the function with that name; `None` if there is none.
pub(super) fn function(btf: &[u8], name: &str) -> Option<u32> {
    let word = |at: usize| Some(u32::from_ne_bytes(btf.get(at..at + 4)?.try_into().ok()?));
    let size = |at: usize| usize::try_from(word(at)?).ok();
    if btf.get(..2)? != MAGIC.to_ne_bytes() {
        return None;
    }
    let header = size(4)?;
    let (types, names) = (header + size(8)?, header + size(16)?);
    let end = types + size(12)?;
    let (mut at, mut number) = (types, 1);
    while at < end {
        let (start, info) = (names + size(at)?, word(at + 4)?);
        let kind = info >> 24 & 0x1f;
        let is_named = || btf.get(start..)?.strip_prefix(name.as_bytes())?.first().copied();
        if kind == FUNC && is_named() == Some(0) {
            return Some(number);
        }
        let count = usize::try_from(info & 0xffff).ok()?;
        at += 12
            + match kind {
                // An integer, a variable, a declaration's tag.
                1 | 14 | 17 => 4,
                // An array.
                3 => 12,
                // A structure, a union, values of 64 bits.
                4 | 5 | 19 => 12 * count,
                // Values, parameters.
                6 | 13 => 8 * count,
                // A section.
                15 => 12 * count,
                _ => 0,
            };
        number += 1;
    }
    None
}
