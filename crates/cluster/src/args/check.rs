//! The flags of the commands that look for what is wrong with an installation: check, drift. What they do is in `cli`.

use super::EXIT;
use super::cluster::Cluster;
use clap::Args;

/// Check the installation: API, versions, injector, network, nodes, webhook, control plane, and what you may do.
///
/// Each line says what is well, odd or wrong, with its code and the next command. Nothing is changed: rights are asked for, and
/// one pod is created as a server dry run, by which the webhook shows that it answers.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT)]
pub(crate) struct Check {
    /// Look only at what can be known before an installation, and whether you may install.
    #[arg(long)]
    pub(crate) pre: bool,
    /// Take what is odd for wrong.
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// List what differs between what should be and what is: objects that somebody changed, chains, pods, rules.
///
/// Objects are compared by server dry runs of what the controller would apply; nothing is changed.
#[derive(Clone, Debug, Args)]
#[command(after_help = super::EXIT_DIFF)]
pub(crate) struct Drift {
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Where the controller and its objects are.
#[derive(Clone, Debug, Args)]
pub(crate) struct Home {
    /// The namespace of controller and agents.
    #[arg(short, long, value_name = "NAMESPACE", default_value = crate::print::words::NAMESPACE)]
    pub(crate) namespace: String,
}
