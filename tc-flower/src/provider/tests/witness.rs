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
    let kernel = FakeKernel::new();
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

/// What a port received and lost, each reason with a count, and whether it was deaf.
fn lost(tc: &mut FakeTc) -> (Vec<(&'static str, u64)>, bool) {
    let port = tc.traffic().unwrap().remove(0);
    let lost = port.receive_drops.iter().map(|(reason, lost)| (*reason, lost.packets));
    (lost.filter(|(_, lost)| *lost > 0).collect(), port.deaf)
}

#[test]
fn what_an_interface_received_and_lost_has_a_reason() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    for ifindex in [11, 12] {
        kernel.lock().counters.insert(ifindex, ([0; 3], Some([0; 3])));
    }
    let count = |lost: &[(usize, u64)]| {
        kernel.lock().lost.insert(11, lost.iter().copied().collect());
    };
    // What was lost before the first reading is of no interest.
    count(&[(6, 70), (15, 7)]);
    assert_eq!(lost(&mut tc), (vec![], false));
    // rx_errors with its part rx_crc_errors, rx_dropped, rx_fifo_errors, rx_missed_errors,
    // rx_nohandler, and rx_otherhost_dropped, which packet sockets have.
    count(&[(4, 1), (12, 1), (6, 72), (14, 3), (15, 11), (23, 5), (24, 6)]);
    let all = [
        ("rx-missed", 4),
        ("rx-fifo", 3),
        ("rx-errors", 1),
        ("rx-nohandler", 5),
        ("rx-dropped", 2),
    ];
    assert_eq!(lost(&mut tc), (all.to_vec(), false));
    let sent = tc.traffic().unwrap().remove(0).transmit_drops;
    let sent: Vec<&str> = sent.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(sent, ["tx-dropped", "tx-errors"]);
}

#[test]
fn what_is_lost_while_an_interface_is_down_has_that_for_a_reason() {
    let kernel = FakeKernel::new();
    let mut tc = open(&kernel);
    for ifindex in [11, 12] {
        kernel.lock().counters.insert(ifindex, ([0; 3], Some([0; 3])));
    }
    let drop = |packets| kernel.lock().lost.insert(11, [(6, packets)].into());
    assert_eq!(lost(&mut tc), (vec![], false));
    kernel.set_up(11, false);
    drop(5);
    assert_eq!(lost(&mut tc), (vec![("representor-down", 5)], true));
    assert_eq!(lost(&mut tc), (vec![("representor-down", 5)], true), "it still is");
    kernel.set_up(11, true);
    drop(7);
    assert_eq!(lost(&mut tc), (vec![("representor-down", 7)], true), "it was for a while");
    drop(8);
    assert_eq!(lost(&mut tc), (vec![("representor-down", 7), ("rx-dropped", 1)], false));
    // Down and up between two readings.
    kernel.set_up(11, false);
    kernel.set_up(11, true);
    assert_eq!(lost(&mut tc), (vec![("representor-down", 7), ("rx-dropped", 1)], true));
}
