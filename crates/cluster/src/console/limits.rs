//! How much is too much: what is granted fills again with time, and a wrong attempt costs some of it. PURE: the clock is an argument.
//!
//! It waits for nobody and remembers few.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The most peers whose attempts are told apart (M10); beyond them, all together count.
const MOST_PEERS: usize = 256;

/// How much is granted: so many at once, and one more each time this has passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// At once.
    pub(crate) burst: u32,
    /// One more after each of these.
    pub(crate) every: Duration,
}

/// What is left of a grant: it is whole again at that moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    whole: Option<Instant>,
}

impl Bucket {
    /// Takes one; where there is none, how long until there is.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let owed = self.owed(now);
        let most = rate.every * rate.burst.saturating_sub(1);
        if owed > most {
            return Err(owed - most);
        }
        self.whole = Some(now + owed + rate.every);
        Ok(())
    }

    /// Gives one back.
    pub(crate) fn give_back(&mut self, rate: Rate) {
        self.whole = self.whole.and_then(|whole| whole.checked_sub(rate.every));
    }

    fn owed(&self, now: Instant) -> Duration {
        self.whole.map_or(Duration::ZERO, |whole| whole.saturating_duration_since(now))
    }
}

/// Attempts to get in: of each peer, and of all together.
#[derive(Debug)]
pub(crate) struct Attempts {
    each: Rate,
    together: Rate,
    all: Bucket,
    peers: Vec<(Option<IpAddr>, Bucket)>,
}

impl Attempts {
    /// None was made yet.
    pub(crate) fn new(each: Rate, together: Rate) -> Attempts {
        Attempts { each, together, all: Bucket::default(), peers: Vec::new() }
    }

    /// Somebody tries: it counts as a wrong attempt until it [`Attempts::succeeded`], so that many at once are as many. Where there
    /// were too many, how long until one more is looked at.
    pub(crate) fn begin(&mut self, peer: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let (each, together) = (self.each, self.together);
        self.of(peer, now).take(each, now)?;
        self.all.take(together, now).inspect_err(|_| self.of(peer, now).give_back(each))
    }

    /// It was a right one.
    pub(crate) fn succeeded(&mut self, peer: Option<IpAddr>, now: Instant) {
        let (each, together) = (self.each, self.together);
        self.of(peer, now).give_back(each);
        self.all.give_back(together);
    }

    fn of(&mut self, peer: Option<IpAddr>, now: Instant) -> &mut Bucket {
        let found = self.peers.iter().position(|(known, _)| *known == peer);
        let at = found.unwrap_or_else(|| {
            if self.peers.len() >= MOST_PEERS {
                self.peers.retain(|(_, bucket)| !bucket.owed(now).is_zero());
            }
            if self.peers.len() >= MOST_PEERS {
                self.peers.remove(0);
            }
            self.peers.push((peer, Bucket::default()));
            self.peers.len() - 1
        });
        &mut self.peers[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(10) };

    fn peer(last: u16) -> Option<IpAddr> {
        let [high, low] = last.to_be_bytes();
        Some([10, 0, high, low].into())
    }

    #[test]
    fn some_at_once_and_then_one_in_a_while() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let mut check = |seconds: u64, expected: Result<(), u64>| {
            let taken = bucket.take(RATE, start + SECOND * seconds as u32);
            assert_eq!(taken.map_err(|wait| wait.as_secs()), expected, "after {seconds} s");
        };
        for (seconds, expected) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(10)),
            (4, Err(6)),
            (10, Ok(())),
            (10, Err(10)),
            (100, Ok(())),
            (100, Ok(())),
            (100, Ok(())),
            (100, Err(10)),
        ] {
            check(seconds, expected);
        }
    }

    #[test]
    fn wrong_attempts_count_and_right_ones_do_not() {
        let now = Instant::now();
        let mut attempts = Attempts::new(RATE, Rate { burst: 5, ..RATE });
        for _ in 0..50 {
            attempts.begin(peer(1), now).unwrap();
            attempts.succeeded(peer(1), now);
        }
        for _ in 0..3 {
            attempts.begin(peer(1), now).unwrap();
        }
        assert_eq!(attempts.begin(peer(1), now), Err(SECOND * 10), "this peer tried enough");
        attempts.begin(peer(2), now).unwrap();
        attempts.begin(peer(2), now).unwrap();
        assert_eq!(attempts.begin(peer(3), now), Err(SECOND * 10), "all together did");
        // Who was kept from it by others has lost nothing.
        assert_eq!(attempts.begin(peer(3), now + SECOND * 10), Ok(()));
    }

    #[test]
    fn peers_without_number_are_not_kept() {
        let now = Instant::now();
        let mut attempts = Attempts::new(RATE, Rate { burst: 100_000, every: SECOND });
        for number in 0..2000 {
            attempts.begin(peer(number), now).unwrap();
        }
        assert_eq!(attempts.peers.len(), MOST_PEERS);
    }
}
