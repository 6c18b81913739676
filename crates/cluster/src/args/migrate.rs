//! The flags of `millrace migrate`. What it does is in `cli::migrate`.

use super::EXIT_SWITCH;
use super::cluster::{Cluster, duration};
use clap::Args;
use std::time::Duration;

/// Restart the workloads whose pods still owe a restart, one after the other, within their disruption budgets.
///
/// As `kubectl rollout restart` does it; the next begins when the last is ready again. Bare pods and Jobs are named, not touched.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_SWITCH)]
pub(crate) struct Migrate {
    /// Only the workloads of this namespace; else of all.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// List the workloads in their order, and restart none.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Pause every migration of this cluster before its next workload.
    #[arg(long, conflicts_with_all = ["dry_run", "resume"])]
    pub(crate) pause: bool,
    /// Let migrations go on.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) resume: bool,
    /// How long one workload may take, its budgets included, as in 10m.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}
