//! Who of several controllers acts: the one that holds the Lease.
//!
//! Another's claim ends when it was not renewed for its duration by our own clock since we saw it, so that clocks need not
//! agree and may jump. Whoever cannot renew in time stops before another may begin.

use crate::print::words::CONTROLLER;
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
    /// What was seen last, and when that was new.
    seen: Option<(Mark, Instant)>,
}

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
        Claim { api, identity, lasts, seen: None }
    }

    /// Waits until the Lease is ours. `None` when told to stop.
    pub(crate) async fn acquire(&mut self, stop: &CancellationToken) -> Option<()> {
        let mut told = String::new();
        loop {
            match timeout(self.patience(), self.attempt()).await {
                Ok(Ok(true)) => return Some(()),
                Ok(Ok(false)) => {
                    let holder = self.seen.as_ref().map(|(mark, _)| mark.holder.clone()).unwrap_or_default();
                    if told != holder {
                        tracing::info!(holder, "another controller acts; standing by");
                        told = holder;
                    }
                }
                Ok(Err(error)) => tracing::warn!("take the Lease {NAME}: {error}; tried again"),
                Err(_) => tracing::warn!("take the Lease {NAME}: no answer; tried again"),
            }
            // A watch would tell of a release, but not of a holder that died.
            stop.run_until_cancelled(sleep(self.pause())).await?;
        }
    }

    /// Keeps the Lease until told to stop, or until it is lost. Returns whether it was kept.
    pub(crate) async fn keep(&mut self, stop: &CancellationToken) -> bool {
        let mut renewed = Instant::now();
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
        match self.decide(&lease, Instant::now()) {
            Move::Wait => Ok(false),
            Move::Take | Move::Renew => {
                let lease = self.written(Some(lease));
                // Its version goes with it: of two that take it at once, one is refused.
                ours(self.api.replace(NAME, &PostParams::default(), &lease).await)
            }
        }
    }

    fn decide(&mut self, lease: &Lease, now: Instant) -> Move {
        let spec = lease.spec.clone().unwrap_or_default();
        let mark = Mark {
            holder: spec.holder_identity.unwrap_or_default(),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
        };
        if mark.holder == self.identity {
            return Move::Renew;
        }
        if mark.holder.is_empty() {
            return Move::Take;
        }
        let lasts = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == mark => {
                if now.saturating_duration_since(*since) > Duration::from_secs(lasts) {
                    Move::Take
                } else {
                    Move::Wait
                }
            }
            _ => {
                self.seen = Some((mark, now));
                Move::Wait
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

/// A refusal because another was faster is no failure.
fn ours(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
