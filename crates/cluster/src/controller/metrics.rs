//! What the controller counts, each declared once. No label names a pod or a node.

use crate::api::status::{MeshCNIStatus, State};
use crate::mechanism::Mechanism;
use crate::webhook::metrics::Metrics as Admitted;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// The controller's metrics. A clone counts into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    admissions: Arc<Registry>,
    leads: Gauge,
    rounds: Counter,
    requests: Family<[(&'static str, &'static str); 2], Counter>,
    evictions: Family<[(&'static str, &'static str); 1], Counter>,
    state: Family<[(&'static str, &'static str); 1], Gauge>,
    nodes: Family<[(&'static str, &'static str); 1], Gauge>,
    pods: Family<[(&'static str, &'static str); 1], Gauge>,
    debt: Gauge,
}

const STATES: [(State, &str); 5] = [
    (State::Absent, "absent"),
    (State::Installing, "installing"),
    (State::Serving, "serving"),
    (State::Draining, "draining"),
    (State::Removing, "removing"),
];

impl Metrics {
    /// All metrics, at zero, with those of the webhook.
    pub(crate) fn new(version: &'static str, admitted: &Admitted) -> Metrics {
        let mut metrics = Metrics {
            registry: Arc::default(),
            admissions: Arc::default(),
            leads: Gauge::default(),
            rounds: Counter::default(),
            requests: Family::default(),
            evictions: Family::default(),
            state: Family::default(),
            nodes: Family::default(),
            pods: Family::default(),
            debt: Gauge::default(),
        };
        let mut all = Registry::with_prefix("millrace_controller");
        all.register("build", "The controller that answers", Info::new([("version", version)]));
        all.register("leads", "Whether this replica holds the Lease", metrics.leads.clone());
        all.register("rounds", "How often the cluster was looked at as a whole", metrics.rounds.clone());
        all.register("requests", "Requests to the API server, watches apart", metrics.requests.clone());
        all.register("evictions", "Pods that could not start, evicted", metrics.evictions.clone());
        all.register("state", "The state of the cluster", metrics.state.clone());
        all.register("nodes", "Nodes by how they stand", metrics.nodes.clone());
        all.register("pods", "Pods of the mesh by who redirects them", metrics.pods.clone());
        all.register("restart_debt", "Pods that get what is wanted when restarted", metrics.debt.clone());
        metrics.registry = Arc::new(all);
        let mut admissions = Registry::with_prefix("millrace");
        admitted.register(&mut admissions);
        metrics.admissions = Arc::new(admissions);
        metrics
    }

    /// Says whether this replica acts.
    pub(crate) fn leads(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// Counts a look at the cluster.
    pub(crate) fn looked(&self) {
        self.rounds.inc();
    }

    /// Counts a request.
    pub(crate) fn requested(&self, act: &'static str, ok: bool) {
        self.requests.get_or_create(&[("act", act), ("result", result(ok))]).inc();
    }

    /// Counts an eviction.
    pub(crate) fn evicted(&self, ok: bool) {
        self.evictions.get_or_create(&[("result", result(ok))]).inc();
    }

    /// Says how the cluster is.
    pub(crate) fn status(&self, status: &MeshCNIStatus) {
        for (state, name) in STATES {
            self.state.get_or_create(&[("state", name)]).set(i64::from(status.state == Some(state)));
        }
        let nodes = &status.nodes;
        for (name, count) in [
            ("desired", nodes.desired),
            ("updated", nodes.updated),
            ("ready", nodes.ready),
            ("failed", nodes.failed),
            ("absent", nodes.absent),
        ] {
            self.nodes.get_or_create(&[("standing", name)]).set(count.into());
        }
        let workloads = &status.workloads;
        for (mechanism, count) in [
            (Mechanism::Cni, workloads.cni),
            (Mechanism::InitContainer, workloads.init_container),
            (Mechanism::None, workloads.none),
        ] {
            self.pods.get_or_create(&[("mechanism", mechanism.name())]).set(count.into());
        }
        self.debt.set(workloads.restart_debt.into());
    }

    /// All metrics, as OpenMetrics text.
    pub(crate) fn write(&self) -> String {
        let mut text = String::with_capacity(4 << 10);
        for registry in [&self.registry, &self.admissions] {
            encode_registry(&mut text, registry).expect("a string takes what is written");
        }
        encode_eof(&mut text).expect("a string takes what is written");
        text
    }
}

fn result(ok: bool) -> &'static str {
    if ok { "ok" } else { "failed" }
}
