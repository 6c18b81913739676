//! What an agent is told at its start, and what its tasks have in common. Plain data, and handles to what lives elsewhere.

use super::client::{Access, Link};
use super::config::Config;
use super::health::Health;
use super::install::Target;
use super::metrics::Metrics;
use super::pods::Pods;
use millrace_core::policy::Mesh;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// This node's name, as pods have it in `spec.nodeName`.
    pub(crate) node: String,
    /// The way to the API server.
    pub(crate) access: Access,
    /// What the operator says, and the file that says it.
    pub(crate) config: Config,
    pub(crate) config_file: Option<PathBuf>,
    /// Where the plugin and our entry belong; what the entry says comes from `config`.
    pub(crate) target: Target,
    /// Who installs.
    pub(crate) installer: String,
    pub(crate) state_dir: PathBuf,
    /// Where this process alone is asked for its health.
    pub(crate) own_socket: PathBuf,
    /// Where health and metrics are served on the node, if they are.
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Whether this agent has the privileges to look into pods, and is to use them.
    pub(crate) audits: bool,
    /// Where the node's processes are.
    pub(crate) proc: PathBuf,
}

/// What all of an agent's tasks share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) setup: Arc<Setup>,
    pub(crate) link: Link,
    pub(crate) pods: Pods,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) config: watch::Receiver<Config>,
    /// What decisions about pods are made by, as the configuration has it.
    pub(crate) mesh: watch::Receiver<Mesh>,
    pub(crate) stop: CancellationToken,
}
