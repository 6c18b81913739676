//! What was found and done so far on one node: the wait between two tries, and the caps.

use super::{Act, Finding, Limits, Remedy};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What was found and done so far on this node. Times are counted from any one moment.
#[derive(Clone, Debug, Default)]
pub struct History {
    pods: BTreeMap<String, Past>,
    /// When, and whether it was an eviction.
    acts: VecDeque<(Duration, bool)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Past {
    /// What is wrong, and since when anything is; none while it is well.
    found: Option<(Finding, Duration)>,
    tries: u32,
    tried: Duration,
}

impl History {
    /// Something is wrong with a pod. Whether that is new: it was well, or something else was wrong with it.
    pub fn found(&mut self, uid: &str, finding: Finding, now: Duration) -> bool {
        let past = self.pods.entry(uid.to_owned()).or_default();
        let before = past.found;
        past.found = Some((finding, before.map_or(now, |(_, since)| since)));
        before.is_none_or(|(before, _)| before != finding)
    }

    /// Something is tried.
    pub fn tried(&mut self, uid: &str, remedy: &Remedy, now: Duration) {
        let past = self.pods.entry(uid.to_owned()).or_default();
        past.tries = past.tries.saturating_add(1);
        past.tried = now;
        self.acts.push_back((now, *remedy == Remedy::Delete));
        while self.acts.front().is_some_and(|(when, _)| now.saturating_sub(*when) > HOUR) {
            self.acts.pop_front();
        }
    }

    /// A pod was found to be as planned. That it was mended a while ago still counts, lest somebody who undoes it
    /// again and again keep us at it; only after a long time of peace does it not.
    pub fn well(&mut self, uid: &str, limits: &Limits, now: Duration) {
        let at_peace =
            |past: &Past| past.tries == 0 || now.saturating_sub(past.tried) > limits.wait(past.tries) * 2;
        match self.pods.get_mut(uid) {
            Some(past) if at_peace(past) => drop(self.pods.remove(uid)),
            Some(past) => past.found = None,
            None => {}
        }
    }

    /// Forgets the pods that are not among the living.
    pub fn keep(&mut self, is_living: impl Fn(&str) -> bool) {
        self.pods.retain(|uid, _| is_living(uid));
    }

    /// For how long something has been wrong with a pod.
    pub(super) fn age(&self, uid: &str, now: Duration) -> Duration {
        let since = self.pods.get(uid).and_then(|past| past.found).map(|(_, since)| since);
        since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// How long until a pod may be tried again.
    pub fn wait(&self, uid: &str, limits: &Limits, now: Duration) -> Duration {
        let past = self.pods.get(uid).filter(|past| past.tries > 0);
        past.map_or(Duration::ZERO, |past| (past.tried + limits.wait(past.tries)).saturating_sub(now))
    }

    pub(super) fn is_capped(&self, act: Act, limits: &Limits, now: Duration) -> bool {
        let since = |age: Duration| self.acts.iter().filter(move |(when, _)| now.saturating_sub(*when) < age);
        let deletions = |age| since(age).filter(|(_, is_deletion)| *is_deletion).count();
        since(MINUTE).count() >= limits.per_minute
            || act == Act::Delete
                && (deletions(MINUTE) >= limits.deletions_per_minute
                    || deletions(HOUR) >= limits.deletions_per_hour)
    }
}

impl Limits {
    /// How long after the `tries`th try the next one comes.
    fn wait(&self, tries: u32) -> Duration {
        let doubled =
            2u32.checked_pow(tries.saturating_sub(1)).and_then(|times| self.first_wait.checked_mul(times));
        doubled.unwrap_or(self.longest_wait).min(self.longest_wait)
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
