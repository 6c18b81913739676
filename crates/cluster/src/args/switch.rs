//! The flags of the commands that switch: enable, disable, exclude. What they do is in `cli::switch`.

use super::EXIT_SWITCH;
use super::cluster::Change;
use clap::{Args, Subcommand};

/// Let the nodes' CNI chains redirect the mesh's pods, from outside and without privilege in the pod.
///
/// Pods that run stay as they are until they are restarted; millrace plan lists what would change beforehand.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_SWITCH)]
pub(crate) struct Enable {
    /// Namespaces to exclude, instead of those that are; without it they stay as they are.
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub(crate) exclude: Option<Vec<String>>,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// Let pods redirect themselves again by their own init containers.
///
/// Init containers come back first; nodes serve until no pod depends on them, and then the agents leave.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_SWITCH)]
pub(crate) struct Disable {
    /// Leave the agents on the nodes, ready to be switched to again (mode InitContainer).
    #[arg(long)]
    pub(crate) keep_agents: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// Change which namespaces are excluded. It acts when a pod is admitted: running pods stay as they are.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_SWITCH)]
pub(crate) struct Exclude {
    #[command(subcommand)]
    pub(crate) how: ExcludeHow,
}

/// How the list of excluded namespaces changes.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ExcludeHow {
    /// Exclude more namespaces.
    Add(Namespaces),
    /// Exclude these no longer.
    Rm(Namespaces),
    /// Exclude exactly these; none, if none is named.
    Set(Namespaces),
}

/// Namespaces, and what every switch takes.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_SWITCH)]
pub(crate) struct Namespaces {
    /// The namespaces.
    #[arg(value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub(crate) namespaces: Vec<String>,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// A name that a namespace can have (RFC 1123): a slip would otherwise exclude nothing and say nothing.
fn namespace(text: &str) -> Result<String, String> {
    let letters = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if letters && ends && (1..=63).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err("a namespace has 1 to 63 of a-z, 0-9 and -, and begins and ends with none of -".to_owned())
}
