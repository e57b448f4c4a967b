//! The host datapath: from a batch of frames to frames on another port.

use flow::packet::Packet;
use flow::{Blocking, Generation, Moment, Op};
use hostdp::port::memory;
use hostdp::port::{BURST, Batch, Frame};
use hostdp::{Datapath, DatapathSettings};

use super::measure::{Case, Work};
use super::traffic::{IN, OUT, frame, megaflow};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "forward-1-flow",
        unit: "packet",
        what: "60-byte UDP frames of one flow",
        setup: |_| forward(1, 1),
    },
    Case {
        name: "forward-1000-flows",
        unit: "packet",
        what: "1,000 flows in turn under one mask",
        setup: |_| forward(1000, 1),
    },
    Case {
        name: "forward-32-masks",
        unit: "packet",
        what: "1,000 flows in turn under 32 masks",
        setup: |_| forward(1000, 32),
    },
];

/// The measured time includes copying each frame in and taking it out again.
fn forward(flows: u16, masks: u16) -> Result<Work, String> {
    let mut datapath = Datapath::new(DatapathSettings::default());
    let (from, _) = memory::open("in", BURST).map_err(|error| error.to_string())?;
    let (to, sink) = memory::open("out", 2 * BURST).map_err(|error| error.to_string())?;
    datapath.add_port(IN, Box::new(from)).map_err(|error| error.to_string())?;
    datapath.add_port(OUT, Box::new(to)).map_err(|error| error.to_string())?;
    let ops: Vec<Op> = (0..flows)
        .map(|number| Op::Install {
            flow: megaflow(number, number % masks),
            generation: Generation(1),
        })
        .collect();
    let mut done = Vec::new();
    datapath.table().apply(&ops, &mut done);
    if let Some(error) = done.into_iter().find_map(|completion| completion.result.err()) {
        return Err(error.to_string());
    }
    let frames: Vec<Packet> = (0..flows).map(|number| Packet::new(&frame(number))).collect();
    let mut batch = Batch::new();
    let mut next = frames.into_iter().collect::<std::collections::VecDeque<_>>();
    let mut time = 0;
    Ok(Box::new(move |_| {
        for _ in 0..BURST {
            if let Some(packet) = next.pop_front() {
                batch.push(Frame::fresh(packet.clone()));
                next.push_back(packet);
            }
        }
        time += 1000;
        datapath.process(IN, &mut batch, Moment(time));
        Ok(sink.drain().len() as u64)
    }))
}

#[cfg(test)]
mod tests {
    use super::super::measure::Aside;
    use super::*;

    #[test]
    fn every_frame_comes_out() {
        for case in CASES {
            let mut work = (case.setup)(u32::MAX).unwrap();
            for _ in 0..40 {
                assert_eq!(work(&mut Aside::default()), Ok(BURST as u64), "{}", case.name);
            }
        }
    }
}
