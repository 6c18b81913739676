//! What the webhook counts, each declared once. Every label comes from a closed set; no label names a pod.

use super::answer::Outcome;
use super::spec::Verdict;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// The webhook's metrics. A clone counts into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    admissions: Family<[(&'static str, &'static str); 2], Counter>,
    specifications: Family<[(&'static str, &'static str); 1], Counter>,
    malformed: Counter,
    duration: Histogram,
}

/// From a tenth of a millisecond, which a small pod takes, to a second, which is a tenth of what an API server waits.
const BUCKETS: [f64; 9] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            admissions: Family::default(),
            specifications: Family::default(),
            malformed: Counter::default(),
            duration: Histogram::new(BUCKETS),
        }
    }
}

impl Metrics {
    /// Declares them all.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "admissions",
            "Pods that came to the webhook, by what was done with them",
            self.admissions.clone(),
        );
        registry.register(
            "specifications",
            "MeshCNIs that came to the webhook, by what was said of them",
            self.specifications.clone(),
        );
        registry.register(
            "malformed_reviews",
            "Requests to the webhook that are no admission review",
            self.malformed.clone(),
        );
        registry.register_with_unit(
            "admission_duration",
            "How long the webhook took for a pod",
            Unit::Seconds,
            self.duration.clone(),
        );
    }

    /// A review was answered.
    pub(super) fn admitted(&self, outcome: Outcome, took: Duration) {
        let (what, why) = outcome.words();
        let why = if why.is_empty() { "none" } else { why };
        self.admissions.get_or_create(&[("outcome", what), ("reason", why)]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// A MeshCNI was judged.
    pub(super) fn judged(&self, verdict: Verdict) {
        self.specifications.get_or_create(&[("verdict", verdict.name())]).inc();
    }

    /// Something came that is no review.
    pub(super) fn refused(&self) {
        self.malformed.inc();
    }
}
