//! The flags of the commands that take a whole cluster back, on, or away: rollback, upgrade, uninstall.

use super::EXIT_SWITCH;
use super::cluster::Change;
use crate::print::words::NAMESPACE;
use clap::Args;

/// Take the MeshCNI back to the last generation that was reached, or to one that is named.
///
/// The controller keeps what was wanted as revisions. The difference is shown before it is written.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_SWITCH)]
pub(crate) struct Rollback {
    /// The generation to go back to; else the last one that was reached.
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) to: Option<i64>,
    /// List the revisions that are kept, and change nothing.
    #[arg(long, conflicts_with_all = ["to", "wait", "dry_run", "diff"])]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// Bring the controller and the agents to another version: the controller first, the agents by the MeshCNI's rollout.
///
/// A controller leads agents of its own minor version and of the one before, so one minor version is one step. The controller
/// is changed where its Deployment is found, and it is never taken back; definitions and RBAC are not changed: apply those of
/// the new version before.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_SWITCH)]
pub(crate) struct Upgrade {
    /// The image; else the present one with the version of this program as its tag.
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    pub(crate) image: Option<String>,
    /// Go on where versions are too far apart, go back, or cannot be told from the image's tag.
    #[arg(long)]
    pub(crate) ignore_skew: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// Take everything of Millrace off the cluster: switch off, clear the nodes, remove the controller and the definitions.
///
/// Where it stands is told by the cluster itself, so that the same command goes on where the last one stopped; with --wait it
/// goes through to the end. Pods that depend on the agents are restarted first (`millrace migrate`). What others made is not
/// touched, and namespaces stay.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_UNINSTALL)]
pub(crate) struct Uninstall {
    /// Look at every place where something could be left, and say of each whether it is clean and how to make it so.
    #[arg(long)]
    pub(crate) prove_clean: bool,
    /// Leave pods that depend on the agents to themselves; they are listed. Nothing redirects them once they start anew.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) change: Change,
}

const EXIT_UNINSTALL: &str = "\
Exit status: 0 all of it is removed, and with --prove-clean nothing was found; 1 something is left, and the same command goes \
on; 2 it could not be done; 130 the waiting was interrupted.";

/// Where the controller lives.
#[derive(Clone, Debug, Args)]
pub(crate) struct Home {
    /// The namespace of the controller.
    #[arg(long, help_heading = "Cluster", value_name = "NAMESPACE", default_value = NAMESPACE)]
    pub(crate) system_namespace: String,
}

fn image(text: &str) -> Result<String, String> {
    if crate::api::names::is_image(text) {
        return Ok(text.to_owned());
    }
    Err("write an image, as in registry.example/millrace:0.1.0".to_owned())
}
