//! Which running pods were found to be redirected otherwise than planned, and are so still: what the node's report says of it.
//!
//! It remembers and judges nothing. Nothing is said before everything was looked at once: what nobody counts is not 0.

use crate::api::node::DriftedPod;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// What is said of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drifted {
    /// How many there are.
    pub(crate) count: u32,
    /// The first of them by name.
    pub(crate) pods: Vec<DriftedPod>,
}

/// Those that are known.
#[derive(Debug)]
pub(super) struct Drifts {
    found: BTreeMap<String, DriftedPod>,
    /// Whether all were looked at once.
    counted: bool,
    told: watch::Sender<Option<Drifted>>,
}

/// The most pods that are remembered (M10): more than a kubelet runs.
const MOST: usize = 4096;
/// The most that are named, and the longest text about one; the schema says the same.
const MOST_NAMED: usize = 10;
const LONGEST_TEXT: usize = 256;

impl Default for Drifts {
    fn default() -> Drifts {
        Drifts { found: BTreeMap::new(), counted: false, told: watch::Sender::new(None) }
    }
}

impl Drifts {
    /// Says it there from now on.
    pub(super) fn telling(self, told: watch::Sender<Option<Drifted>>) -> Drifts {
        let drifts = Drifts { told, ..self };
        drifts.tell();
        drifts
    }

    /// This pod is redirected otherwise than planned.
    pub(super) fn found(&mut self, uid: &str, pod: String, finding: &str, words: &str) {
        if self.found.len() < MOST || self.found.contains_key(uid) {
            let message = words[..words.floor_char_boundary(LONGEST_TEXT)].to_owned();
            self.found.insert(uid.to_owned(), DriftedPod { pod, finding: finding.to_owned(), message });
        }
    }

    /// This one is not.
    pub(super) fn well(&mut self, uid: &str) {
        self.found.remove(uid);
    }

    /// Forgets the pods that are not among the living.
    pub(super) fn keep(&mut self, is_living: impl Fn(&str) -> bool) {
        self.found.retain(|uid, _| is_living(uid));
    }

    /// Everything was looked at.
    pub(super) fn counted(&mut self) {
        self.counted = true;
    }

    /// Says it, if it is another than before.
    pub(super) fn tell(&self) {
        let now = self.counted.then(|| {
            let mut pods: Vec<DriftedPod> = self.found.values().cloned().collect();
            pods.sort_by(|one, other| one.pod.cmp(&other.pod));
            pods.truncate(MOST_NAMED);
            Drifted { count: u32::try_from(self.found.len()).unwrap_or(u32::MAX), pods }
        });
        self.told.send_if_modified(|told| {
            let changes = *told != now;
            *told = now;
            changes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_counted_first_and_bounded_then() {
        let (told, said) = watch::channel(None);
        let mut drifts = Drifts::default().telling(told);
        for number in 0..12 {
            drifts.found(&format!("u{number}"), format!("shop/web-{number:02}"), "Drift", &"ä".repeat(500));
        }
        drifts.tell();
        assert_eq!(*said.borrow(), None, "not all were looked at");
        drifts.counted();
        drifts.well("u0");
        drifts.tell();
        let now = said.borrow().clone().expect("it was counted");
        assert_eq!((now.count, now.pods.len(), now.pods[0].pod.as_str()), (11, 10, "shop/web-01"));
        assert!(now.pods[0].message.len() <= LONGEST_TEXT);
        drifts.keep(|uid| uid == "u3");
        drifts.tell();
        assert_eq!(said.borrow().as_ref().map(|now| now.count), Some(1));
    }
}
