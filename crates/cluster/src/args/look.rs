//! The flags of the commands that look at a cluster and change nothing. What they do is in `cli`.

use super::EXIT;
use super::cluster::Cluster;
use clap::Args;

/// Show on one screen where the cluster is: the switch, nodes, pods, the change on its way, and what is wrong.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT)]
pub(crate) struct Status {
    /// Show it again whenever it changes, until interrupted.
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// List what each node's agent reports: whether it serves, its version and chain, and how pods' starts went.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT)]
pub(crate) struct Nodes {
    /// One node, with its conditions and its last failures.
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}
