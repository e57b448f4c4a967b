//! The classifier alone: from a key to its megaflow.

use flow::Key;
use hostdp::classifier::Classifier;

use super::measure::{Case, Work};
use super::traffic::{key, megaflow};

/// Lookups between two looks at the clock.
const CHUNK: u64 = 256;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "hit-1-mask",
        unit: "lookup",
        what: "1,000 megaflows under one mask, hit in turn",
        setup: || hits(1000, 1, 1000),
    },
    Case {
        name: "hit-32-masks",
        unit: "lookup",
        what: "1,000 megaflows under 32 masks, hit in turn",
        setup: || hits(1000, 32, 1000),
    },
    Case {
        name: "hit-1024-masks",
        unit: "lookup",
        what: "1,024 masks, hit in turn: the worst case",
        setup: || hits(1024, 1024, 1024),
    },
    Case {
        name: "hit-one-of-1024-masks",
        unit: "lookup",
        what: "1,024 masks, one flow with traffic: what an attacker's masks cost it",
        setup: || hits(1024, 1024, 1),
    },
    Case {
        name: "miss-32-masks",
        unit: "lookup",
        what: "keys that hit none of 32 masks",
        setup: misses,
    },
];

fn table(flows: u16, masks: u16) -> Classifier {
    let mut classifier = Classifier::new(1);
    for number in 0..flows {
        classifier.insert(&megaflow(number, number % masks), u32::from(number));
    }
    classifier
}

/// The last `busy` megaflows get the traffic.
fn hits(flows: u16, masks: u16, busy: u16) -> Result<Work, String> {
    let mut classifier = table(flows, masks);
    let keys: Vec<_> = (flows - busy..flows).map(key).collect();
    match keys.iter().find(|key| classifier.lookup(key).is_none()) {
        Some(key) => Err(format!("the megaflow of port {} is not found", key.tp_dst)),
        None => Ok(lookups(classifier, keys)),
    }
}

fn misses() -> Result<Work, String> {
    let mut classifier = table(1000, 32);
    let keys: Vec<_> = (10_000..11_000).map(key).collect();
    match keys.iter().find(|key| classifier.lookup(key).is_some()) {
        Some(key) => Err(format!("port {} hits", key.tp_dst)),
        None => Ok(lookups(classifier, keys)),
    }
}

fn lookups(mut classifier: Classifier, keys: Vec<Key>) -> Work {
    let mut next = 0;
    Box::new(move || {
        for _ in 0..CHUNK {
            std::hint::black_box(classifier.lookup(&keys[next]));
            next = (next + 1) % keys.len();
        }
        CHUNK
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_can_be_set_up() {
        for case in CASES {
            let mut work = (case.setup)().unwrap();
            assert_eq!(work(), CHUNK, "{}", case.name);
        }
    }
}
