//! When a node whose clearing failed is cleared again: ever more slowly, so that a Job that cannot succeed is not made all day. PURE.
//!
//! It decides nothing about which nodes are cleared. A failed Job stays until the next one is due, for people to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Until a node is cleared again; doubled each time.
const PAUSE: Duration = Duration::from_secs(10);
/// After so many doublings it stays: some ten minutes.
const MOST_DOUBLINGS: u32 = 6;

/// What failed, by node.
#[derive(Debug, Default)]
pub(crate) struct Failures(BTreeMap<String, Past>);

#[derive(Clone, Debug)]
struct Past {
    /// The Job's identity.
    job: String,
    times: u32,
    since: Instant,
}

impl Failures {
    /// The nodes whose failed Job may go now, of these nodes with their failed Jobs, and when the next may.
    pub(crate) fn decide(
        &mut self,
        failed: &BTreeMap<String, String>,
        unclear: &BTreeSet<&str>,
        now: Instant,
    ) -> (Vec<String>, Option<Duration>) {
        self.0.retain(|node, _| unclear.contains(node.as_str()));
        let (mut due, mut next) = (Vec::new(), None::<Duration>);
        for (node, job) in failed {
            let times = self.0.get(node).map_or(0, |past| past.times);
            if self.0.get(node).is_none_or(|past| past.job != *job) {
                let past = Past { job: job.clone(), times: times.saturating_add(1), since: now };
                self.0.insert(node.clone(), past);
            }
            let past = &self.0[node];
            let pause = PAUSE * 2_u32.pow((past.times - 1).min(MOST_DOUBLINGS));
            match pause.saturating_sub(now.saturating_duration_since(past.since)) {
                Duration::ZERO => due.push(node.clone()),
                left => next = Some(next.map_or(left, |next| next.min(left))),
            }
        }
        (due, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At these seconds the node's Job has failed, made anew as soon as it was let go: when it was let go.
    fn check(seconds: impl IntoIterator<Item = u64>, expected: &[u64]) {
        let (mut failures, start, mut attempt) = (Failures::default(), Instant::now(), 0);
        let found = seconds.into_iter().filter(|second| {
            let failed = [("n1".to_owned(), attempt.to_string())].into();
            let now = start + Duration::from_secs(*second);
            let (due, next) = failures.decide(&failed, &["n1"].into(), now);
            attempt += due.len();
            assert_eq!(due.is_empty(), next.is_some(), "who waits knows for how long");
            !due.is_empty()
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_node_is_cleared_again_ever_more_slowly() {
        check(0..140, &[10, 31, 72]);
        check(
            (0..20_000).step_by(10),
            &[
                10, 40, 90, 180, 350, 680, 1330, 1980, 2630, 3280, 3930, 4580, 5230, 5880, 6530, 7180, 7830,
                8480, 9130, 9780, 10430, 11080, 11730, 12380, 13030, 13680, 14330, 14980, 15630, 16280,
                16930, 17580, 18230, 18880, 19530,
            ],
        );
    }

    #[test]
    fn who_is_clear_begins_anew() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let failed: BTreeMap<String, String> = [("n1".to_owned(), "a".to_owned())].into();
        failures.decide(&failed, &["n1"].into(), start);
        failures.decide(&BTreeMap::new(), &BTreeSet::new(), start);
        let (due, next) = failures.decide(&failed, &["n1"].into(), start + Duration::from_secs(100));
        assert_eq!((due.len(), next), (0, Some(PAUSE)));
    }
}
