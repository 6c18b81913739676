//! How often one and the same thing is said: some times in a while, and then a number. PURE.
//!
//! It says nothing itself, and never forgets how much was withheld.

use std::time::{Duration, Instant};

/// Something that may happen more often than anybody wants to read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storm {
    window: Duration,
    each: u64,
    since: Option<Instant>,
    said: u64,
    withheld: u64,
}

impl Storm {
    /// One that is said `each` times in every `window`.
    pub(crate) const fn new(window: Duration, each: u64) -> Storm {
        Storm { window, each, since: None, said: 0, withheld: 0 }
    }

    /// It happens. To be said: how many before it were withheld and are told with it. To be withheld: none.
    pub(crate) fn happens(&mut self, now: Instant) -> Option<u64> {
        if self.is_over(now) {
            (self.since, self.said) = (Some(now), 1);
            return Some(std::mem::take(&mut self.withheld));
        }
        if self.said >= self.each {
            self.withheld += 1;
            return None;
        }
        self.said += 1;
        Some(0)
    }

    /// Whether what happens now begins a new window.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= self.window)
    }

    /// How many were withheld that nobody has been told of.
    pub(crate) fn withheld(&self) -> u64 {
        self.withheld
    }

    /// When its window ends, if it has one.
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.since.map(|since| since + self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of what happens at these seconds, twice in ten of them.
    fn check(seconds: &[u64], expected: &[Option<u64>], withheld: u64) {
        let start = Instant::now();
        let mut storm = Storm::new(Duration::from_secs(10), 2);
        let said = seconds.iter().map(|second| storm.happens(start + Duration::from_secs(*second)));
        assert_eq!(said.collect::<Vec<_>>(), expected, "{seconds:?}");
        assert_eq!(storm.withheld(), withheld, "{seconds:?}");
    }

    #[test]
    fn some_are_said_and_the_others_counted() {
        check(&[], &[], 0);
        check(&[0], &[Some(0)], 0);
        check(&[0, 1], &[Some(0), Some(0)], 0);
        check(&[0, 1, 2, 9], &[Some(0), Some(0), None, None], 2);
        check(&[0, 1, 2, 9, 10, 11, 12], &[Some(0), Some(0), None, None, Some(2), Some(0), None], 1);
        check(&[0, 30], &[Some(0), Some(0)], 0);
    }

    #[test]
    fn its_end_is_known() {
        let start = Instant::now();
        let mut storm = Storm::new(Duration::from_secs(10), 1);
        assert!(storm.ends().is_none() && storm.is_over(start));
        storm.happens(start);
        let end = storm.ends().expect("it began");
        assert_eq!(end, start + Duration::from_secs(10));
        assert!(!storm.is_over(start) && storm.is_over(end));
    }
}
