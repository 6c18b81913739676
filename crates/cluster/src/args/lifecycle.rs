//! The flags of the commands that take a whole cluster back or on: rollback, upgrade.

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

/// Where the controller lives.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Home {
    /// The namespace of the controller.
    #[arg(long, value_name = "NAMESPACE", default_value = NAMESPACE)]
    pub(crate) system_namespace: String,
}

fn image(text: &str) -> Result<String, String> {
    if crate::api::names::is_image(text) {
        return Ok(text.to_owned());
    }
    Err("write an image, as in registry.example/millrace:0.1.0".to_owned())
}
