//! Being asked to stop, and waiting for something without ever waiting for ever.
//!
//! The first SIGINT, SIGTERM or SIGHUP asks the demo to take everything down in order; a second one ends it at once, and
//! the next run removes what it left.

use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often something without an event of its own is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Whether somebody asked us to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens to the signals that ask.
    pub(crate) fn on_signals() -> anyhow::Result<Stop> {
        let stop = Stop::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first handler sees the flag the second one set at an earlier signal.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop.0))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop.0)))
                .context("cannot listen to signals")?;
        }
        Ok(stop)
    }

    /// Whether we were asked.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error if we were asked: before each step of something long.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.asked() {
            bail!("asked to stop");
        }
        Ok(())
    }

    /// Waits until `ready` says so; an error when it fails, when `patience` ends, or when we are asked to stop.
    pub(crate) fn until(
        &self,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !ready()? {
            self.check()?;
            if Instant::now() >= deadline {
                bail!("{what}: not within {patience:?}");
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stop: &Stop, ready: bool) -> String {
        let waited = stop.until("x", Duration::from_millis(20), || Ok(ready));
        waited.map_or_else(|cause| cause.to_string(), |()| "ready".to_owned())
    }

    #[test]
    fn a_wait_ends_one_way_or_another() {
        let stop = Stop::default();
        assert_eq!(check(&stop, true), "ready");
        assert_eq!(check(&stop, false), "x: not within 20ms");
        stop.0.store(true, Ordering::SeqCst);
        assert_eq!(check(&stop, false), "asked to stop");
        assert_eq!(check(&stop, true), "ready");
    }
}
