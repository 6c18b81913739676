//! The flags of the commands that look at a cluster and change nothing. What they do is in `cli`.

use super::EXIT;
use super::cluster::Cluster;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

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
///
/// The worst come first, no more than a screen of them; -o wide lists all.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT)]
pub(crate) struct Nodes {
    /// One node, with its conditions and its last failures.
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// List the pods that would be redirected by somebody else, once they are restarted, if the MeshCNI were as proposed.
///
/// Without a proposal: as it is, which is what pods still owe; or switched on, where mesh CNI was never on. Pods that nobody would
/// redirect come first, then those that nobody would start again, no more than a screen of them; -o wide lists all.
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_DIFF)]
pub(crate) struct Plan {
    /// Propose this MeshCNI, YAML or JSON; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Propose this mode.
    #[arg(long, value_enum)]
    pub(crate) mode: Option<Mode>,
    /// Propose to exclude exactly these namespaces.
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub(crate) exclude: Option<Vec<String>>,
    /// Only the pods of this namespace; else of all.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// The modes of the MeshCNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The node's chain redirects.
    #[value(name = "CNI", alias = "cni")]
    Cni,
    /// Each pod redirects itself; agents stay.
    #[value(name = "InitContainer", alias = "init-container")]
    InitContainer,
    /// Each pod redirects itself; agents leave.
    #[value(name = "Disabled", alias = "disabled")]
    Disabled,
}

impl Mode {
    /// As the MeshCNI spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Cni => "CNI",
            Mode::InitContainer => "InitContainer",
            Mode::Disabled => "Disabled",
        }
    }
}
