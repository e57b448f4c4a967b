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
        setup: || forward(1, 1, true),
    },
    Case {
        name: "forward-1000-flows",
        unit: "packet",
        what: "1,000 flows in turn under one mask",
        setup: || forward(1000, 1, true),
    },
    Case {
        name: "forward-32-masks",
        unit: "packet",
        what: "1,000 flows in turn under 32 masks",
        setup: || forward(1000, 32, true),
    },
    Case {
        name: "forward-32-masks-uncached",
        unit: "packet",
        what: "the same without the exact-match cache",
        setup: || forward(1000, 32, false),
    },
];

/// The measured time includes copying each frame in and taking it out again.
fn forward(flows: u16, masks: u16, cached: bool) -> Result<Work, String> {
    let mut config = DatapathSettings::default();
    if !cached {
        config.cached_keys = 0;
    }
    let mut datapath = Datapath::new(config);
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
    Ok(Box::new(move || {
        for _ in 0..BURST {
            if let Some(packet) = next.pop_front() {
                batch.push(Frame::fresh(packet.clone()));
                next.push_back(packet);
            }
        }
        time += 1000;
        datapath.process(IN, &mut batch, Moment(time));
        sink.drain().len() as u64
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_comes_out() {
        for case in CASES {
            let mut work = (case.setup)().unwrap();
            for _ in 0..40 {
                assert_eq!(work(), BURST as u64, "{}", case.name);
            }
        }
    }
}
