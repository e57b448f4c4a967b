//! The ports' own counters.

use super::*;

/// Packets that a port received and sent, then those that the CPU received and sent.
fn packets(tc: &mut FakeTc) -> Vec<(u32, [u64; 5])> {
    let ports = tc.traffic().unwrap().into_iter().map(|port| {
        assert!(!port.exact);
        let counted = [port.received, port.sent, port.to_host, port.from_host];
        let [received, sent, up, down] = counted.map(|counters| counters.packets);
        let (_, lost) = port.transmit_drops[0];
        (port.port.0, [received, sent, lost.packets, up, down])
    });
    ports.collect()
}

#[test]
fn ports_that_tell_the_hardwares_share_are_witnesses_from_the_first_reading_on() {
    let kernel = Kernel::new();
    let mut tc = open(&kernel);
    let count = |ifindex, all, cpu| kernel.lock().counters.insert(ifindex, (all, cpu));
    count(11, [100, 200, 1], Some([10, 20, 0]));
    count(13, [7, 7, 7], None);
    assert!(packets(&mut tc).is_empty(), "one of the two ports does not tell");
    count(12, [50, 60, 0], None);
    assert!(packets(&mut tc).is_empty(), "nor what is the CPU's");
    count(12, [50, 60, 0], Some([5, 6, 0]));
    assert_eq!(packets(&mut tc), [(1, [0; 5]), (2, [0; 5])]);
    count(11, [110, 230, 2], Some([11, 22, 0]));
    assert_eq!(packets(&mut tc), [(1, [10, 30, 1, 1, 2]), (2, [0; 5])]);
    // The interface was made anew and counts from zero, so its whole reading is new traffic.
    count(11, [3, 4, 0], Some([2, 1, 0]));
    assert_eq!(packets(&mut tc), [(1, [13, 34, 1, 3, 3]), (2, [0; 5])]);
}
