//! Who was let in: for how long, how many, and how much each may ask for. The clock is an argument.
//!
//! Sessions are in this process's memory alone, few, and end: at a moment that is known beforehand, by idleness, at logout, or when
//! there are too many. With a session ends what runs for it.

use super::limits::{Bucket, Rate};
use super::secret::{is_same, secret};
use anyhow::Result;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What sessions are granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grants {
    /// How many there are at once (M10); the one that was idle for longest goes first.
    pub(crate) most: usize,
    /// How many of them one person may have.
    pub(crate) of_one: usize,
    /// How long one may be idle.
    pub(crate) idle: Duration,
    /// How much one may ask for.
    pub(crate) requests: Rate,
}

/// All sessions; with each, whoever it is.
pub(crate) struct Sessions<G> {
    grants: Grants,
    held: Mutex<Vec<Held<G>>>,
}

struct Held<G> {
    id: String,
    csrf: String,
    whose: String,
    until: Instant,
    used: Instant,
    requests: Bucket,
    guest: G,
    // What runs for a session hears of its end.
    _end: DropGuard,
}

/// A session that begins.
pub(crate) struct Entering<G> {
    /// A person's name; sessions of one are counted by it.
    pub(crate) whose: String,
    /// When it ends at the latest.
    pub(crate) until: Instant,
    /// Cancelled when it ends.
    pub(crate) end: CancellationToken,
    /// Whoever it is.
    pub(crate) guest: G,
}

/// A session that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known<G> {
    /// What its cookie holds.
    pub(crate) id: String,
    /// What proves its forms.
    pub(crate) csrf: String,
    /// Whoever it is.
    pub(crate) guest: G,
}

impl<G: Clone> Sessions<G> {
    /// None yet.
    pub(crate) fn new(grants: Grants) -> Sessions<G> {
        Sessions { grants, held: Mutex::default() }
    }

    /// Begins one.
    pub(crate) fn enter(&self, entering: Entering<G>, now: Instant) -> Result<Known<G>> {
        let Entering { whose, until, end, guest } = entering;
        let (id, csrf) = (secret()?, secret()?);
        let known = Known { id: id.clone(), csrf: csrf.clone(), guest: guest.clone() };
        let mut held = self.alive(now);
        while held.iter().filter(|one| one.whose == whose).count() >= self.grants.of_one {
            remove_idlest(&mut held, |one| one.whose == whose);
        }
        while held.len() >= self.grants.most {
            remove_idlest(&mut held, |_| true);
        }
        let (requests, end) = (Bucket::default(), end.drop_guard());
        held.push(Held { id, csrf, whose, until, used: now, requests, guest, _end: end });
        Ok(known)
    }

    /// The one of that cookie.
    pub(crate) fn of(&self, id: &str, now: Instant) -> Option<Known<G>> {
        self.find(|one| is_same(&one.id, id), now)
    }

    /// The one of whom this is so.
    pub(crate) fn whose(&self, is_so: impl Fn(&G) -> bool, now: Instant) -> Option<Known<G>> {
        self.find(|one| is_so(&one.guest), now)
    }

    fn find(&self, is_it: impl Fn(&Held<G>) -> bool, now: Instant) -> Option<Known<G>> {
        let held = self.alive(now);
        let found = held.iter().find(|one| is_it(one))?;
        Some(Known { id: found.id.clone(), csrf: found.csrf.clone(), guest: found.guest.clone() })
    }

    /// A session asks for something: somebody is there, if `by_hand`. Where it asked for too much, how long until it may again.
    pub(crate) fn ask(&self, id: &str, by_hand: bool, now: Instant) -> Result<(), Duration> {
        let mut held = self.alive(now);
        let Some(found) = held.iter_mut().find(|one| one.id == id) else { return Ok(()) };
        if by_hand {
            found.used = now;
        }
        found.requests.take(self.grants.requests, now)
    }

    /// Ends one.
    pub(crate) fn end(&self, id: &str) {
        self.locked().retain(|one| one.id != id);
    }

    /// Ends those whose time is over; who is left.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<G> {
        self.alive(now).iter().map(|one| one.guest.clone()).collect()
    }

    fn alive(&self, now: Instant) -> MutexGuard<'_, Vec<Held<G>>> {
        let mut held = self.locked();
        held.retain(|one| now < one.until && now.saturating_duration_since(one.used) < self.grants.idle);
        held
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Held<G>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_idlest<G>(held: &mut Vec<Held<G>>, among: impl Fn(&Held<G>) -> bool) {
    let those = held.iter().enumerate().filter(|(_, one)| among(one));
    if let Some((at, _)) = those.min_by_key(|(_, one)| one.used) {
        held.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const GRANTS: Grants = Grants {
        most: 4,
        of_one: 2,
        idle: Duration::from_secs(1800),
        requests: Rate { burst: 2, every: Duration::from_secs(1) },
    };

    fn enter(
        sessions: &Sessions<&'static str>,
        whose: &'static str,
        now: Instant,
    ) -> (String, CancellationToken) {
        let end = CancellationToken::new();
        let entering =
            Entering { whose: whose.to_owned(), until: now + MINUTE * 600, end: end.clone(), guest: whose };
        (sessions.enter(entering, now).unwrap().id, end)
    }

    #[test]
    fn each_is_known_by_its_own_cookie_alone() {
        let (sessions, now) = (Sessions::new(GRANTS), Instant::now());
        let (ada, _) = enter(&sessions, "ada", now);
        let (bob, _) = enter(&sessions, "bob", now);
        let (one, other) = (sessions.of(&ada, now).unwrap(), sessions.of(&bob, now).unwrap());
        assert_eq!((one.guest, other.guest), ("ada", "bob"));
        assert!(one.csrf != other.csrf && one.csrf != ada && one.csrf.len() == 64);
        assert_eq!(sessions.of("", now), None);
        assert_eq!(sessions.of(&"0".repeat(64), now), None);
        assert_eq!(sessions.whose(|guest| *guest == "bob", now).unwrap().id, bob);
    }

    #[test]
    fn each_ends_in_time_and_with_it_what_runs_for_it() {
        let (sessions, now) = (Sessions::new(GRANTS), Instant::now());
        let (ada, end) = enter(&sessions, "ada", now);
        for minutes in (0..600).step_by(29) {
            sessions.ask(&ada, true, now + MINUTE * minutes).unwrap();
        }
        assert!(sessions.of(&ada, now + MINUTE * 599).is_some() && !end.is_cancelled());
        assert_eq!(sessions.of(&ada, now + MINUTE * 600), None);
        assert!(end.is_cancelled());
        let (idle, end) = enter(&sessions, "ada", now);
        // What a page asks for by itself keeps nobody in.
        sessions.ask(&idle, false, now + MINUTE * 29).unwrap();
        sessions.sweep(now + MINUTE * 30);
        assert!(end.is_cancelled() && sessions.of(&idle, now).is_none());
        let (left, end) = enter(&sessions, "ada", now);
        sessions.end(&left);
        assert!(end.is_cancelled() && sessions.of(&left, now).is_none());
    }

    #[test]
    fn they_are_few_and_nobody_drives_others_out_alone() {
        let (sessions, now) = (Sessions::new(GRANTS), Instant::now());
        let (bob, _) = enter(&sessions, "bob", now);
        let ada: Vec<_> =
            (1..9_u32).map(|second| enter(&sessions, "ada", now + MINUTE * second / 60).0).collect();
        let known: Vec<bool> = ada.iter().map(|id| sessions.of(id, now).is_some()).collect();
        assert_eq!(known, [false, false, false, false, false, false, true, true]);
        assert!(sessions.of(&bob, now).is_some(), "ada's are ada's");
        for whose in ["cleo", "dora"] {
            enter(&sessions, whose, now + MINUTE);
        }
        assert!(sessions.of(&bob, now).is_none(), "the idlest goes");
    }

    #[test]
    fn who_asks_too_much_waits() {
        let (sessions, now) = (Sessions::new(GRANTS), Instant::now());
        let (ada, _) = enter(&sessions, "ada", now);
        let asked: Vec<_> = (0..3).map(|_| sessions.ask(&ada, true, now).is_ok()).collect();
        assert_eq!(asked, [true, true, false]);
        assert_eq!(sessions.ask(&ada, true, now + GRANTS.requests.every), Ok(()));
    }
}
