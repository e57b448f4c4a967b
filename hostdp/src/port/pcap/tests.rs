use std::time::Duration;

use flow::ManualTime;

use super::*;

/// A capture of one frame, with the given magic number and byte order.
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
    PcapReader::new(bytes)?.collect()
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
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    writer.write(1_500_000_007, &[1; 60]).unwrap();
    writer.write(2_000_000_000, &[2]).unwrap();
    assert!(writer.write(0, &vec![0; 300_000]).is_err());
    assert!(writer.write(0, &[]).is_err());
    let bytes = writer.into_inner().unwrap();
    let records = read(&bytes).unwrap();
    let seen: Vec<_> = records.iter().map(|r| (r.time, r.original_len, r.frame.len())).collect();
    assert_eq!(seen, [(1_500_000_007, 60, 60), (2_000_000_000, 1, 1)]);
}

#[test]
fn hostile_files_are_errors() {
    let good = capture(0xa1b2_c3d4, false, 0, &[7; 60]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        read(&bad).unwrap_err().to_string()
    };
    assert_eq!(changed(0, b"<htm"), "not a pcap file: it begins with 0x3c68746d");
    assert_eq!(
        changed(0, &[0x0a, 0x0d, 0x0d, 0x0a]),
        "a pcapng file; only pcap is read: convert it with editcap -F pcap IN OUT"
    );
    let gzip = "compressed by gzip: unpack it first with gunzip";
    assert_eq!(changed(0, &[0x1f, 0x8b]), gzip);
    assert_eq!(read(&[0x1f, 0x8b, 8]).unwrap_err().to_string(), gzip);
    assert_eq!(changed(0, b"BZh9"), "compressed by bzip2: unpack it first with bunzip2");
    assert_eq!(changed(36, &[0; 4]), "record 1: a packet of 0 bytes");
    assert_eq!(read(&[]).unwrap_err().to_string(), "the file is empty");
    for length in [1, 3, 4, 23] {
        let wanted =
            format!("the file ends after {length} bytes, in the middle of its header of 24");
        assert_eq!(read(&good[..length]).unwrap_err().to_string(), wanted);
    }
    assert_eq!(changed(4, &[3]), "version 3.4 of the pcap format; only 2.4 is supported");
    assert_eq!(changed(20, &[101]), "link type 101; only Ethernet (1) is supported");
    assert_eq!(changed(32, &[0xff; 4]), "record 1: 4294967295 bytes, more than 262144");
    assert_eq!(changed(32, &[61]), "record 1: the file ends in the middle of the record");
    for length in 0..good.len() {
        let result = read(&good[..length]);
        // The only whole shorter file ends with the file's header: a capture without frames.
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
    let time = ManualTime::default();
    time.pass(Duration::from_nanos(42));
    let clock = time.clock();
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
    assert!(trouble.ends_with("in.pcap: record 41: the file ends in the middle of the record"));
    let written = read(&std::fs::read(&output).unwrap()).unwrap();
    assert_eq!((written.len(), written[39].time), (40, 42));

    std::fs::write(&input, b"no capture").unwrap();
    let error = PcapPort::open("p", Some(&input), None, clock.clone()).map(drop).unwrap_err();
    assert!(error.to_string().starts_with("port p: can't read the input: "), "{error}");
    // With these files the worker would wait, or read for ever.
    let device = Path::new("/dev/zero");
    for (input, output) in [(Some(device), None), (None, Some(device))] {
        let error = PcapPort::open("p", input, output, clock.clone()).map(drop).unwrap_err();
        assert!(error.to_string().ends_with("/dev/zero: not a regular file"), "{error}");
    }
}

#[test]
fn a_capture_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (fresh, there) = (folder.path().join("fresh.pcap"), folder.path().join("there.pcap"));
    std::fs::write(&there, "old").unwrap();
    std::fs::set_permissions(&there, Permissions::from_mode(0o644)).unwrap();
    for path in [fresh, there] {
        create(&path).unwrap().into_inner().unwrap();
        assert_eq!((mode(&path), std::fs::metadata(&path).unwrap().len()), (0o600, 24));
    }
}
