//! Who of several controllers acts: the one that holds the Lease.
//!
//! Another's claim ends when it was not renewed for its duration by our own clock since we saw it, so that clocks need not
//! agree and may jump. Whoever cannot renew in time stops before another may begin.

use super::watches::changes;
use crate::print::words::CONTROLLER;
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The Lease's name.
pub(crate) const NAME: &str = CONTROLLER;

/// A claim on the Lease.
#[derive(Debug)]
pub(crate) struct Claim {
    api: Api<Lease>,
    /// Who we are.
    identity: String,
    /// For how long a claim lasts that is not renewed.
    lasts: Duration,
    seen: Seen,
}

/// What was seen of another's claim last, when that was new by our own clock, and for how long it counts.
#[derive(Debug, Default)]
struct Seen(Option<(Mark, Instant, Duration)>);

/// What changes whenever a holder renews.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mark {
    holder: String,
    renewed: Option<Timestamp>,
    transitions: i32,
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// Nobody holds it: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Another holds it.
    Wait,
}

impl Claim {
    /// A claim of `identity` that is not made yet.
    pub(crate) fn new(api: Api<Lease>, identity: String, lasts: Duration) -> Claim {
        Claim { api, identity, lasts, seen: Seen::default() }
    }

    /// Waits until the Lease is ours. `None` when told to stop.
    pub(crate) async fn acquire(&mut self, stop: &CancellationToken) -> Option<()> {
        let mut told = String::new();
        let mut changed = changes(self.api.clone(), NAME);
        loop {
            let mut again = self.pause();
            match timeout(self.patience(), self.attempt()).await {
                Ok(Ok(true)) => return Some(()),
                Ok(Ok(false)) => {
                    again = self.seen.left(Instant::now()).unwrap_or(again);
                    let holder =
                        self.seen.0.as_ref().map(|(mark, ..)| mark.holder.clone()).unwrap_or_default();
                    if told != holder {
                        tracing::info!(holder, "another controller acts; standing by");
                        told = holder;
                    }
                }
                Ok(Err(error)) => tracing::warn!("take the Lease {NAME}: {error}; tried again"),
                Err(_) => tracing::warn!("take the Lease {NAME}: no answer; tried again"),
            }
            // A watch tells of a release and of a renewal; that a holder died is told by nobody.
            let _ = stop.run_until_cancelled(timeout(again, changed.next())).await?;
        }
    }

    /// Keeps the Lease until told to stop, or until it is lost. Returns whether it was kept.
    pub(crate) async fn keep(&mut self, stop: &CancellationToken) -> bool {
        let mut renewed = Instant::now();
        // That it is time to renew is the clock's to say.
        while stop.run_until_cancelled(sleep(self.pause())).await.is_some() {
            let before = Instant::now();
            let left = (self.lasts * 2 / 3).saturating_sub(renewed.elapsed());
            match timeout(left.min(self.patience()), self.attempt()).await {
                Ok(Ok(true)) => renewed = before,
                Ok(Ok(false)) => return false,
                Ok(Err(error)) => tracing::warn!("renew the Lease {NAME}: {error}; tried again"),
                Err(_) => tracing::warn!("renew the Lease {NAME}: no answer; tried again"),
            }
            if renewed.elapsed() >= self.lasts * 2 / 3 {
                return false;
            }
        }
        true
    }

    /// Gives the Lease back, so that nobody waits for it to run out.
    pub(crate) async fn release(&mut self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        self.api.replace(NAME, &PostParams::default(), &lease).await.map(drop)
    }

    /// One attempt to take or renew it; whether it is ours then.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(NAME).await? else {
            let lease = self.written(None);
            return ours(self.api.create(&PostParams::default(), &lease).await);
        };
        match self.seen.decide(&self.identity, &lease, Instant::now()) {
            Move::Wait => Ok(false),
            Move::Take | Move::Renew => {
                let lease = self.written(Some(lease));
                // Its version goes with it: of two that take it at once, one is refused.
                ours(self.api.replace(NAME, &PostParams::default(), &lease).await)
            }
        }
    }

    fn written(&self, lease: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            spec: None,
        });
        let spec = lease.spec.take().unwrap_or_default();
        let was_ours = spec.holder_identity.as_deref() == Some(&self.identity);
        let transitions = spec.lease_transitions.unwrap_or_default() + i32::from(!was_ours);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.lasts.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: if was_ours { spec.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..spec
        });
        lease
    }

    fn pause(&self) -> Duration {
        self.lasts / 5
    }

    fn patience(&self) -> Duration {
        self.lasts / 3
    }
}

impl Seen {
    fn decide(&mut self, ours: &str, lease: &Lease, now: Instant) -> Move {
        let spec = lease.spec.clone().unwrap_or_default();
        let mark = Mark {
            holder: spec.holder_identity.unwrap_or_default(),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
        };
        if mark.holder == ours {
            return Move::Renew;
        }
        if mark.holder.is_empty() {
            return Move::Take;
        }
        let lasts = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        if self.0.as_ref().is_none_or(|(seen, ..)| *seen != mark) {
            self.0 = Some((mark, now, Duration::from_secs(lasts)));
            return Move::Wait;
        }
        if self.left(now).is_some_and(|left| left.is_zero()) { Move::Take } else { Move::Wait }
    }

    /// For how long what was seen last counts yet.
    fn left(&self, now: Instant) -> Option<Duration> {
        let (_, since, lasts) = self.0.as_ref()?;
        Some(lasts.saturating_sub(now.saturating_duration_since(*since)))
    }
}

/// A refusal because another was faster is no failure.
fn ours(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a standby does when it looks at these seconds, and finds this holder and this time of the holder's clock.
    fn check(looks: &[(u64, &str, &str)], expected: &[Move]) {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let found = looks.iter().map(|(second, holder, renewed)| {
            let lease = json!({ "metadata": {}, "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed, "leaseTransitions": 1,
            } });
            let lease = serde_json::from_value(lease).expect("it is a Lease");
            seen.decide("me", &lease, start + Duration::from_secs(*second))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{looks:?}");
    }

    #[test]
    fn a_claim_ends_by_our_clock_whatever_the_holders_says() {
        use Move::{Renew, Take, Wait};
        let [early, now, late] =
            ["1970-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"];
        check(&[(0, "", now)], &[Take]);
        check(&[(0, "me", now)], &[Renew]);
        check(&[(0, "it", now), (14, "it", now), (15, "it", now)], &[Wait, Wait, Take]);
        // A renewal is another time than the last, be it earlier.
        check(
            &[(0, "it", late), (14, "it", early), (28, "it", now), (43, "it", now)],
            &[Wait, Wait, Wait, Take],
        );
        check(&[(0, "it", early), (9, "other", early), (20, "other", early)], &[Wait, Wait, Wait]);
        check(&[(0, "it", now), (3, "", late)], &[Wait, Take]);
    }
}
