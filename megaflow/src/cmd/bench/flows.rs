//! Flow text to install, the same for every datapath that reads OVS's.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;

/// The largest number of masks: six prefix lengths of each address.
pub(super) const MASKS: u64 = 36;

/// Writes this number of megaflows, a line each, under that number of masks. The UDP ports keep
/// the megaflows of one mask from those of another.
pub(super) fn write(path: &Path, flows: u64, masks: u64) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    (0..flows).try_for_each(|number| writeln!(file, "{} 2", line(number, masks)))?;
    file.flush()
}

/// The match of a megaflow.
pub(super) fn line(number: u64, masks: u64) -> String {
    let (class, member) = (number % masks, number / masks);
    let low = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let [src_mask, dst_mask] = [class % 6, class / 6 % 6].map(|bits| u32::MAX << bits);
    let src = Ipv4Addr::from((0x4000_0000 | low(member) << 6) & src_mask);
    let dst = Ipv4Addr::from((0xc000_0000 | low(class) << 16) & dst_mask);
    let [src_mask, dst_mask] = [src_mask, dst_mask].map(Ipv4Addr::from);
    let [sport, dport] = [1024 + member % 60_000, 2000 + class];
    format!(
        "recirc_id(0),in_port(1),packet_type(ns=0,id=0),eth(),eth_type(0x0800),\
         ipv4(src={src}/{src_mask},dst={dst}/{dst_mask},proto=17,frag=no),\
         udp(src={sport},dst={dport})"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flow::odp;

    use super::*;

    #[test]
    fn the_megaflows_differ_and_have_so_many_masks() {
        for masks in [1, 30, MASKS] {
            let flows: Vec<_> =
                (0..400).map(|n| odp::parse_match(&line(n, masks)).unwrap()).collect();
            let found: BTreeSet<_> = flows.iter().map(|flow| *flow.mask().words()).collect();
            assert_eq!(found.len() as u64, masks);
            for (place, flow) in flows.iter().enumerate() {
                assert!(!flows[..place].iter().any(|other| other.overlaps(flow)), "{place}");
            }
        }
    }
}
