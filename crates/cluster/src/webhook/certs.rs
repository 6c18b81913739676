//! The webhook's certificates, and when which of them is replaced. PURE: the clock is an argument, in seconds since 1970.
//!
//! A new authority is trusted before anything is signed by it, and an old one until nobody serves what it signed: between any
//! two steps lies time enough for the API server and for every replica to have seen the first. One replica takes the steps;
//! all serve what they led to.

pub(crate) mod make;
pub(crate) mod secret;

/// How long a serving certificate is good for. It is replaced when a third of that is left.
const SERVING: u64 = 30 * DAY;
/// How long an authority is good for. It is replaced when a third of that is left.
const AUTHORITY: u64 = 365 * DAY;
/// How long a step is given to be seen by everybody: a watch takes seconds, a volume minutes.
const SETTLED: u64 = 3_600;
/// How far two clocks may be apart. What is valid is valid from that much earlier.
const SLACK: u64 = DAY;
const DAY: u64 = 86_400;
/// The most authorities that are trusted at once (M10): the one that signs, and two before it.
const MOST_AUTHORITIES: usize = 3;

/// All there is, as it is kept in a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certs {
    /// Whom to trust, oldest first; the last one signs. Never empty.
    pub(crate) authorities: Vec<Authority>,
    /// The key of the one that signs, as PEM.
    pub(crate) signing_key: String,
    /// What is served.
    pub(crate) serving: Serving,
    /// When the last step was taken.
    pub(crate) since: u64,
}

/// An authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Its certificate, as PEM.
    pub(crate) certificate: String,
    /// When it is good.
    pub(crate) validity: Validity,
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Serving {
    /// The certificate, as PEM.
    pub(crate) certificate: String,
    /// Its key, as PEM.
    pub(crate) key: String,
    /// When it is good.
    pub(crate) validity: Validity,
    /// For which names and addresses.
    pub(crate) names: Vec<String>,
    /// Whether the last of the authorities signed it.
    pub(crate) by_newest: bool,
}

/// From when to when something is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing now.
    Keep,
    /// There is nothing that can be used: an authority and a serving certificate are made, and both used at once.
    Start,
    /// An authority is made and trusted; it signs nothing yet.
    Add,
    /// A serving certificate is made, signed by the newest authority.
    Issue,
    /// Authorities that have signed nothing that is served are no longer trusted.
    Drop,
}

/// What is to be done now, for these names and addresses.
pub(crate) fn rotate(now: u64, certs: Option<&Certs>, names: &[String]) -> Step {
    let Some((certs, newest)) = certs.and_then(|certs| Some((certs, certs.authorities.last()?))) else {
        return Step::Start;
    };
    if !newest.validity.holds(now) {
        return Step::Start;
    }
    let serving = &certs.serving;
    // A clock that went back must not make everything wait for as long as it went.
    let settled = now >= certs.since + SETTLED || now + SLACK < certs.since;
    if !serving.validity.holds(now) || serving.names != names {
        return Step::Issue;
    }
    match settled {
        true if serving.validity.is_due(now, SERVING) || !serving.by_newest => Step::Issue,
        true if newest.validity.is_due(now, AUTHORITY) => Step::Add,
        true if certs.authorities.len() > 1 => Step::Drop,
        _ => Step::Keep,
    }
}

impl Certs {
    /// What the API server is to trust, as PEM.
    pub(crate) fn bundle(&self) -> String {
        self.authorities.iter().map(|authority| authority.certificate.as_str()).collect()
    }
}

impl Validity {
    /// That of something made now.
    fn starting(now: u64, length: u64) -> Validity {
        Validity { from: now.saturating_sub(SLACK), until: now.saturating_add(length) }
    }

    fn holds(self, now: u64) -> bool {
        (self.from..self.until).contains(&now)
    }

    fn is_due(self, now: u64, length: u64) -> bool {
        self.until < now + length / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000;

    fn names() -> Vec<String> {
        vec!["millrace.millrace-system.svc".to_owned()]
    }

    fn certs(change: impl FnOnce(&mut Certs)) -> Certs {
        let mut certs = make::carry_out(Step::Start, None, &names(), START).expect("certificates");
        change(&mut certs);
        certs
    }

    fn check(change: impl FnOnce(&mut Certs), now: u64, expected: Step) {
        assert_eq!(
            rotate(now, Some(&certs(change)), &names()),
            expected,
            "{} s later",
            now.wrapping_sub(START)
        );
    }

    #[test]
    fn each_is_replaced_long_before_its_end() {
        assert_eq!(rotate(START, None, &names()), Step::Start);
        for (later, step) in [
            (0, Step::Keep),
            (19 * DAY, Step::Keep),
            (21 * DAY, Step::Issue),
            (31 * DAY, Step::Issue),
            (400 * DAY, Step::Start),
        ] {
            check(|_| {}, START + later, step);
        }
        let fresh =
            |certs: &mut Certs| certs.serving.validity = Validity::starting(START + 250 * DAY, SERVING);
        check(fresh, START + 242 * DAY + SLACK, Step::Issue);
        check(fresh, START + 250 * DAY, Step::Add);
    }

    #[test]
    fn other_names_and_other_clocks() {
        check(|certs| certs.serving.names.clear(), START, Step::Issue);
        check(|certs| certs.authorities.clear(), START, Step::Start);
        // Back by an hour is nothing; back by a year, what was made in that future is good for nobody.
        check(|_| {}, START - 3_600, Step::Keep);
        check(|_| {}, START - 365 * DAY, Step::Start);
        check(|_| {}, 0, Step::Start);
        check(|certs| certs.since = START + 365 * DAY, START + 21 * DAY, Step::Issue);
    }

    /// A year and a half by the hour: at every moment what any replica may serve is trusted by whatever bundle the API server
    /// may hold, both being as old as the time a step is given.
    #[test]
    fn nobody_is_ever_without_trust() {
        let mut held = certs(|_| {});
        let mut before = held.clone();
        let mut steps = Vec::new();
        for hour in 1..24 * 550 {
            let now = START + hour * 3_600;
            for (server, trusted) in [(&held, &before), (&before, &held), (&held, &held)] {
                let signer = make::issuer_of(&server.serving.certificate);
                let known = trusted.authorities.iter().any(|one| make::issuer_of(&one.certificate) == signer);
                assert!(known && server.serving.validity.holds(now), "hour {hour}: {steps:?}");
            }
            before = held.clone();
            let step = rotate(now, Some(&held), &names());
            if step != Step::Keep {
                steps.push(step);
                held = make::carry_out(step, Some(&held), &names(), now).expect("certificates");
                assert!(held.authorities.len() <= MOST_AUTHORITIES);
            }
        }
        assert!(steps.windows(3).any(|three| three == [Step::Add, Step::Issue, Step::Drop]), "{steps:?}");
        assert!(!steps.contains(&Step::Start) && steps.len() < 40, "{steps:?}");
    }

    #[test]
    fn starting_anew_keeps_the_old_trust() {
        let mut held = certs(|_| {});
        for _ in 0..5 {
            held = make::carry_out(Step::Start, Some(&held), &names(), START).expect("certificates");
        }
        assert_eq!(held.authorities.len(), MOST_AUTHORITIES);
        assert!(held.serving.by_newest);
    }
}
