//! Figures out of noisy samples. Neighbours on the machine only ever add time, so what a thing costs is near the low end of its samples;
//! the lowest tenth is taken rather than the minimum, so that one lucky sample decides nothing.

use std::time::Duration;

/// The samples of one thing.
#[derive(Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
        self.0.sort();
    }

    /// The value below which `share` of all samples are.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index between 0 and the last"
        )]
        let at = (last as f64 * share).round() as usize;
        self.0.get(at).copied().unwrap_or_default()
    }

    /// What it costs.
    pub(crate) fn cost(&self) -> Duration {
        self.quantile(0.1)
    }
}
