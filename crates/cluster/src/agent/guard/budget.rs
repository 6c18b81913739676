//! How often the chain may be repaired: decides, and never asks a clock or a dice of its own.
//!
//! Every write makes each runtime and each mesh on the node reload, so a bucket of tokens bounds what any cause can make us
//! write. Being undone by the same writer again and again is a fight: then we stop, for twice as long each time, and start
//! afresh once a repair has held.

use std::time::{Duration, Instant};

/// What a budget allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Repairs that may follow each other at once.
    pub(crate) burst: u32,
    /// How long until one more is allowed.
    pub(crate) refill: Duration,
    /// Repairs undone by the same writer, one after the other, that make a fight.
    pub(crate) undone: u32,
    /// How long the first back-off lasts; each further one lasts twice as long as the one before.
    pub(crate) first: Duration,
    /// How long a back-off lasts at most, before jitter.
    pub(crate) longest: Duration,
    /// A repair that has held for so long was not undone: what comes after it is a new story.
    pub(crate) calm: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            burst: 5,
            refill: Duration::from_secs(12),
            undone: 5,
            first: Duration::from_secs(60),
            longest: Duration::from_secs(30 * 60),
            calm: Duration::from_secs(5 * 60),
        }
    }
}

/// What may be done about a chain that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Repair it now; the token is taken.
    Repair,
    /// Too many repairs of late; one is allowed then.
    Wait(Instant),
    /// Somebody keeps undoing it; nothing is written before then.
    BackOff(Instant),
}

/// What has been spent.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    limits: Limits,
    tokens: u32,
    /// When the bucket last held what `tokens` says.
    counted: Instant,
    /// The last repair, until it is known whether it held.
    repaired: Option<Instant>,
    /// Who undid the last ones, and how many.
    writer: String,
    undone: u32,
    /// Back-offs since it was last calm.
    rounds: u32,
    until: Option<Instant>,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(limits: Limits, now: Instant) -> Budget {
        Budget {
            limits,
            tokens: limits.burst,
            counted: now,
            repaired: None,
            writer: String::new(),
            undone: 0,
            rounds: 0,
            until: None,
        }
    }

    /// The chain was found wrong, by the looks of it through `writer`. `jitter`, from 0 to 1, makes a back-off up to a quarter
    /// longer: the nodes of a cluster meet the same writer at the same moment.
    pub(crate) fn wrong(&mut self, now: Instant, writer: &str, jitter: f64) -> May {
        if let Some(until) = self.until {
            if now < until {
                return May::BackOff(until);
            }
            self.until = None;
        }
        self.count(now, writer);
        if self.undone >= self.limits.undone {
            let until = now + self.back_off(jitter);
            self.rounds = self.rounds.saturating_add(1);
            // After it one repair is tried; undone as well, it is one too many at once.
            self.undone = self.limits.undone.saturating_sub(1);
            self.until = Some(until);
            return May::BackOff(until);
        }
        self.fill(now);
        if self.tokens == 0 {
            return May::Wait(self.counted + self.limits.refill);
        }
        self.tokens -= 1;
        May::Repair
    }

    /// A repair was done.
    pub(crate) fn repaired(&mut self, now: Instant) {
        self.repaired = Some(now);
    }

    /// Whether the last repair was undone, or had held. Each counts once; where nothing was repaired, nothing was undone.
    fn count(&mut self, now: Instant, writer: &str) {
        let Some(at) = self.repaired.take() else { return };
        let held = now.saturating_duration_since(at) >= self.limits.calm;
        if held || self.writer != writer {
            writer.clone_into(&mut self.writer);
            self.undone = 0;
            self.rounds = 0;
        }
        if !held {
            self.undone += 1;
        }
    }

    fn back_off(&self, jitter: f64) -> Duration {
        let doubled = self.limits.first.saturating_mul(1 << self.rounds.min(16));
        doubled.min(self.limits.longest).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 4.0)
    }

    fn fill(&mut self, now: Instant) {
        while self.tokens < self.limits.burst
            && now.saturating_duration_since(self.counted) >= self.limits.refill
        {
            self.tokens += 1;
            self.counted += self.limits.refill;
        }
        if self.tokens == self.limits.burst {
            self.counted = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second, who undid it as it looks, and what may be done.
    type Story = &'static [(u64, &'static str, &'static str)];

    /// What happens when the chain is found wrong, and each repair that is allowed is done.
    const STORIES: [(&str, Story); 8] = [
        ("one loss, one repair", &[(0, "calico", "repair")]),
        (
            "losses far apart are never a fight",
            &[
                (0, "a", "repair"),
                (300, "a", "repair"),
                (600, "a", "repair"),
                (900, "a", "repair"),
                (1200, "a", "repair"),
                (1500, "a", "repair"),
                (1800, "a", "repair"),
            ],
        ),
        (
            "five undone by the same writer are a fight",
            &[
                (0, "a", "repair"),
                (1, "a", "repair"),
                (2, "a", "repair"),
                (3, "a", "repair"),
                (4, "a", "repair"),
                (5, "a", "off until 65"),
                (64, "a", "off until 65"),
            ],
        ),
        (
            "after it one repair is tried; each further back-off is twice as long, up to the longest",
            &[
                (0, "a", "repair"),
                (1, "a", "repair"),
                (2, "a", "repair"),
                (3, "a", "repair"),
                (4, "a", "repair"),
                (5, "a", "off until 65"),
                (65, "a", "repair"),
                (66, "a", "off until 186"),
                (186, "a", "repair"),
                (187, "a", "off until 427"),
                (427, "a", "repair"),
                (428, "a", "off until 908"),
                (908, "a", "repair"),
                (909, "a", "off until 1809"),
                (1809, "a", "repair"),
                (1810, "a", "off until 2710"),
            ],
        ),
        (
            "a repair that held ends the fight",
            &[
                (0, "a", "repair"),
                (1, "a", "repair"),
                (2, "a", "repair"),
                (3, "a", "repair"),
                (4, "a", "repair"),
                (5, "a", "off until 65"),
                (65, "a", "repair"),
                (365, "a", "repair"),
                (366, "a", "repair"),
                (367, "a", "repair"),
                (368, "a", "repair"),
                (369, "a", "repair"),
                (370, "a", "off until 430"),
            ],
        ),
        (
            "writers who take turns are no fight, but the bucket holds",
            &[
                (0, "a", "repair"),
                (1, "b", "repair"),
                (2, "a", "repair"),
                (3, "b", "repair"),
                (4, "a", "repair"),
                (5, "b", "wait until 12"),
                (12, "b", "repair"),
                (13, "a", "wait until 24"),
            ],
        ),
        (
            "waiting for a token is neither calm nor another loss",
            &[
                (0, "a", "repair"),
                (1, "b", "repair"),
                (2, "c", "repair"),
                (3, "d", "repair"),
                (4, "e", "repair"),
                (5, "e", "wait until 12"),
                (6, "e", "wait until 12"),
                (12, "e", "repair"),
                (24, "e", "repair"),
                (36, "e", "repair"),
                (48, "e", "off until 108"),
            ],
        ),
        (
            "a full bucket does not fill further",
            &[
                (1000, "a", "repair"),
                (1001, "b", "repair"),
                (1002, "c", "repair"),
                (1003, "d", "repair"),
                (1004, "e", "repair"),
                (1005, "f", "wait until 1012"),
            ],
        ),
    ];

    #[test]
    fn stories() {
        for (name, story) in STORIES {
            let start = Instant::now();
            let limits = Limits { longest: Duration::from_secs(900), ..Limits::default() };
            let mut budget = Budget::new(limits, start);
            for (second, writer, wanted) in story {
                let now = start + Duration::from_secs(*second);
                let at = |when: Instant| when.duration_since(start).as_secs();
                let said = match budget.wrong(now, writer, 0.0) {
                    May::Repair => {
                        budget.repaired(now);
                        "repair".to_owned()
                    }
                    May::Wait(when) => format!("wait until {}", at(when)),
                    May::BackOff(when) => format!("off until {}", at(when)),
                };
                assert_eq!(said, *wanted, "{name}, second {second}");
            }
        }
    }

    /// ENOSPC is no fight: nobody undoes what was never done.
    #[test]
    fn repairs_that_fail_cost_a_token_and_nothing_else() {
        let start = Instant::now();
        let mut budget = Budget::new(Limits::default(), start);
        for _ in 0..5 {
            assert_eq!(budget.wrong(start, "a", 0.0), May::Repair);
        }
        for round in 1..20 {
            let next = start + Duration::from_secs(12) * round;
            assert_eq!(budget.wrong(next - Duration::from_secs(1), "a", 0.0), May::Wait(next));
            assert_eq!(budget.wrong(next, "a", 0.0), May::Repair);
        }
    }

    #[test]
    fn jitter_makes_a_back_off_longer_by_a_quarter_at_most() {
        for (jitter, seconds) in [(0.0, 60.0), (0.5, 67.5), (1.0, 75.0), (7.0, 75.0), (-1.0, 60.0)] {
            let start = Instant::now();
            let mut budget = Budget::new(Limits { undone: 1, ..Limits::default() }, start);
            assert_eq!(budget.wrong(start, "a", jitter), May::Repair);
            budget.repaired(start);
            let until = start + Duration::from_secs_f64(seconds);
            assert_eq!(budget.wrong(start, "a", jitter), May::BackOff(until), "{jitter}");
        }
    }
}
