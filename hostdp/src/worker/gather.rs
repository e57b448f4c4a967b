//! One answer out of those of several workers.

use std::sync::{Arc, Mutex, PoisonError};

use flow::{Completion, Stats};

use super::reply::{Reply, ReplyParts};

/// A reply for each of `count` workers. The last of them to answer merges the answers, which are
/// then in the order of the workers, and sends the result on.
pub(super) fn gather<T: Send + 'static, R: Send + 'static>(
    count: usize,
    reply: Reply<R>,
    merge: impl FnOnce(T, Vec<T>) -> R + Send + 'static,
) -> Vec<Reply<T>> {
    let answers: Vec<Option<T>> = (0..count).map(|_| None).collect();
    let gathered = Arc::new(Mutex::new((answers, count, Some((reply, merge)))));
    let part = |worker: usize| {
        let gathered = gathered.clone();
        Reply::with(move |answer| {
            let mut state = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let (answers, missing, end) = &mut *state;
            if let Some(place) = answers.get_mut(worker) {
                *place = Some(answer);
            }
            *missing = missing.saturating_sub(1);
            if *missing > 0 {
                return;
            }
            let (answers, end) = (std::mem::take(answers), end.take());
            drop(state);
            let mut answers = answers.into_iter().flatten();
            if let (Some((reply, merge)), Some(first)) = (end, answers.next()) {
                reply.send(merge(first, answers.collect()));
            }
        })
    };
    (0..count).map(part).collect()
}

/// The same for an answer in parts: each part goes on as it comes, and the last one of all workers
/// is the last one.
pub(super) fn gather_parts<T: Send + 'static>(
    count: usize,
    parts: ReplyParts<T>,
) -> Vec<ReplyParts<T>> {
    let gathered = Arc::new(Mutex::new((parts, count)));
    let of_one = |_| {
        let gathered = gathered.clone();
        ReplyParts::with(move |part: Vec<T>, is_last| {
            let mut state = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let (parts, missing) = &mut *state;
            *missing -= usize::from(is_last);
            let is_last = *missing == 0;
            if is_last || !part.is_empty() {
                parts.send(part, is_last);
            }
        })
    };
    (0..count).map(of_one).collect()
}

/// What several workers made of the same operations. Their tables have the same megaflows, so they
/// agree; if they don't, an error is the result.
pub(super) fn merge_completions(
    mut merged: Vec<Completion>,
    others: Vec<Vec<Completion>>,
) -> Vec<Completion> {
    for other in others {
        for (sum, one) in merged.iter_mut().zip(other) {
            match (&mut sum.result, one.result) {
                (Ok(sum), Ok(one)) => add(sum, one),
                (Ok(_), error @ Err(_)) => sum.result = error,
                (Err(_), _) => {}
            }
        }
    }
    merged
}

fn add(sum: &mut Stats, one: Stats) {
    sum.counters += one.counters;
    sum.used = sum.used.max(one.used);
    sum.tcp_flags |= one.tcp_flags;
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;
    use flow::{Counters, Moment, Op, ProviderError, Submission, Ufid};

    use super::*;

    #[test]
    fn the_last_worker_sends_the_answer_of_all() {
        let (reply, answer) = unbounded();
        let mut parts = gather(3, Reply::to(reply), |first, others: Vec<u32>| (first, others));
        parts.remove(1).send(20);
        parts.remove(1).send(30);
        assert!(answer.is_empty());
        parts.remove(0).send(10);
        assert_eq!(answer.try_iter().collect::<Vec<_>>(), [(10, vec![20, 30])]);
    }

    #[test]
    fn the_last_part_of_the_last_worker_is_the_last_part() {
        let (told, heard) = unbounded();
        let parts = ReplyParts::with(move |part: Vec<u32>, is_last| {
            told.send((part, is_last)).unwrap();
        });
        let mut workers = gather_parts(2, parts);
        workers[0].send(vec![1], false);
        workers[1].send(vec![2], true);
        workers[0].send(Vec::new(), false);
        workers[0].send(Vec::new(), true);
        let heard: Vec<_> = heard.try_iter().collect();
        assert_eq!(heard, [(vec![1], false), (vec![2], false), (vec![], true)]);
    }

    #[test]
    fn statistics_add_up_and_an_error_wins() {
        let ops: Vec<Submission> =
            Submission::number([1, 2].map(|n| Op::Remove { ufid: Ufid(n) })).collect();
        let stats = |packets, used: Option<u64>, tcp_flags| Stats {
            counters: Counters { packets, bytes: packets * 60 },
            used: used.map(Moment),
            tcp_flags,
        };
        let done =
            |first: Stats, second| vec![ops[0].completed(Ok(first)), ops[1].completed(second)];
        let first = done(stats(3, Some(5), 1), Ok(Stats::default()));
        let others = vec![
            done(stats(4, None, 2), Err(ProviderError::NotFound)),
            done(stats(0, Some(4), 0), Ok(Stats::default())),
        ];
        let merged = merge_completions(first, others);
        assert_eq!(merged[0].result, Ok(stats(7, Some(5), 3)));
        assert_eq!(merged[1].result, Err(ProviderError::NotFound));
    }
}
