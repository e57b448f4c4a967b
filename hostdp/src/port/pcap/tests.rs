use super::*;

/// A capture of one frame of `frame`, with the given magic and order.
fn capture(magic: u32, is_big: bool, fraction: u32, frame: &[u8]) -> Vec<u8> {
    let word = |n: u32| if is_big { n.to_be_bytes() } else { n.to_le_bytes() };
    let half = |n: u16| if is_big { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut bytes = [word(magic).as_slice(), &half(2), &half(4), &[0; 8]].concat();
    bytes.extend([word(65535), word(1), word(10), word(fraction)].concat());
    bytes.extend([word(frame.len() as u32), word(1500)].concat());
    bytes.extend(frame);
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, PcapError> {
    Reader::new(bytes)?.collect()
}

#[test]
fn both_orders_and_both_units() {
    for (magic, fraction) in [(0xa1b2_c3d4, 5), (0xa1b2_3c4d, 5000)] {
        for is_big in [false, true] {
            let records = read(&capture(magic, is_big, fraction, &[7; 60])).unwrap();
            let want = Record { time: 10_000_005_000, original_len: 1500, frame: vec![7; 60] };
            assert_eq!(records, [want], "{magic:#x} {is_big}");
        }
    }
}

#[test]
fn what_is_written_is_read() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.write(1_500_000_007, &[1; 60]).unwrap();
    writer.write(2_000_000_000, &[]).unwrap();
    assert!(writer.write(0, &vec![0; 300_000]).is_err());
    let bytes = writer.into_inner().unwrap();
    let records = read(&bytes).unwrap();
    let seen: Vec<_> = records.iter().map(|r| (r.time, r.original_len, r.frame.len())).collect();
    assert_eq!(seen, [(1_500_000_007, 60, 60), (2_000_000_000, 0, 0)]);
}

#[test]
fn hostile_files_are_errors() {
    let good = capture(0xa1b2_c3d4, false, 0, &[7; 60]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        read(&bad).unwrap_err().to_string()
    };
    assert_eq!(
        changed(0, &[0x0a, 0x0d, 0x0d, 0x0a]),
        "not a pcap file: it begins with 0x0a0d0d0a (pcapng is not supported)"
    );
    assert_eq!(changed(4, &[3]), "version 3.4 of the format; only 2.4 is known");
    assert_eq!(changed(20, &[101]), "link type 101; only Ethernet (1) is supported");
    assert_eq!(changed(32, &[0xff; 4]), "record 1: 4294967295 bytes, more than 262144");
    assert_eq!(changed(32, &[61]), "record 1: the file ends in the middle of it");
    for length in 0..good.len() {
        let result = read(&good[..length]);
        // Whole only at the end of the file's header: a capture of nothing.
        assert_eq!(result.is_ok(), length == 24, "{length}");
    }
}

#[test]
fn the_port_replays_its_input_and_keeps_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let mut bytes = capture(0xa1b2_c3d4, false, 0, &[7; 60]);
    for _ in 0..39 {
        let record = bytes[24..24 + 76].to_vec();
        bytes.extend(record);
    }
    bytes.extend([1, 2, 3]);
    std::fs::write(&input, &bytes).unwrap();
    let clock: Clock = Arc::new(|| Moment(42));
    let mut port = PcapPort::open("p", Some(&input), Some(&output), clock.clone()).unwrap();
    let mut counts = Vec::new();
    for _ in 0..3 {
        let mut batch = Batch::new();
        port.receive(&mut batch);
        counts.push(batch.frames().len());
        let mut frames = batch.frames().iter().map(|frame| frame.packet.clone()).collect();
        port.transmit(&mut frames, &mut TxReport::default());
    }
    assert_eq!(counts, [32, 8, 0]);
    assert_eq!(port.state(), LinkState::Down);
    let trouble = port.trouble().unwrap();
    assert!(trouble.ends_with("in.pcap: record 41: the file ends in the middle of it"));
    let written = read(&std::fs::read(&output).unwrap()).unwrap();
    assert_eq!((written.len(), written[39].time), (40, 42));

    std::fs::write(&input, b"no capture").unwrap();
    let error = PcapPort::open("p", Some(&input), None, clock).map(drop).unwrap_err();
    assert!(error.to_string().starts_with("port p: read the input: "), "{error}");
}
