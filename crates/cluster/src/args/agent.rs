//! The flags of `millrace agent`: where things are on the node, and what is wanted there.

use crate::api::platform::Platform;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Keep this node ready for the mesh: the plugin in its place, our entry in the node's list.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = super::EXIT, args_conflicts_with_subcommands = true)]
pub(crate) struct Agent {
    #[command(subcommand)]
    pub(crate) command: Option<AgentCommand>,
    #[command(flatten)]
    pub(crate) places: Places,
    #[command(flatten)]
    pub(crate) install: Install,
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Install once and end, without a cluster.
    #[arg(long)]
    pub(crate) once: bool,
    /// Print what installing would change, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The configuration file, YAML; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What an agent can be told to do instead.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AgentCommand {
    Uninstall(Uninstall),
    Probe(crate::agent::health::probe::Probe),
}

/// Take our entry out of the node's lists and the plugin off the node, and prove it. Needs no cluster.
///
/// While attachments still name the plugin, one is left in its place that passes everything through.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = super::EXIT)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    pub(crate) places: Places,
    /// The agent's configuration file, of which only the places are read; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The auxiliary chain of Multus that we joined, if this node no longer knows.
    #[arg(long, value_name = "NAME")]
    pub(crate) auxiliary_chain: Option<String>,
    /// Where attachments are remembered by the runtime and by Multus; may be repeated.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) results_dir: Vec<PathBuf>,
    /// For how many seconds to wait until no attachment names the plugin.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) wait: u32,
    /// For how many seconds to wait until the runtime has read its lists again.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) reload_wait: u32,
    /// Remove the plugin even if attachments name it, and all that is remembered of this node.
    #[arg(long)]
    pub(crate) purge: bool,
    /// Only if nobody installed after this installer did.
    #[arg(long, value_name = "NAME")]
    pub(crate) installer: Option<String>,
    /// The plugin that a passing one is made of if none is installed; else the one beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
}

/// How the agent that stays meets the cluster.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Serve {
    /// This node's name, as pods have it in spec.nodeName; else NODE_NAME.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// The way to the API server, by its current context; else the pod's own service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where health and metrics are served while this agent serves the node; none for nowhere. Without IPv6, the default
    /// is every address of IPv4.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:15094")]
    pub(crate) metrics_address: String,
    /// Where the node's processes are, for the audit.
    #[arg(long, value_name = "DIRECTORY", default_value = "/proc")]
    pub(crate) proc: PathBuf,
    #[command(flatten)]
    pub(crate) log: crate::telemetry::Log,
}

/// Where things are on the node. What is not said is found: the runtime's own configuration, then the platform's.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Places {
    /// Where the node's files are mounted; prefixes every path that is found.
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub(crate) host_root: PathBuf,
    /// The platform; else it is told from the node's files.
    #[arg(long, value_enum)]
    pub(crate) platform: Option<Platform>,
    /// The directory of the runtime's CNI lists, as this process sees it.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) conf_dir: Option<PathBuf>,
    /// A directory the runtime searches for plugins, as this process sees it; may be repeated.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) bin_dir: Vec<PathBuf>,
    /// The agent's directory on a tmpfs: sockets, lock and records.
    #[arg(long, value_name = "DIRECTORY", default_value = super::pod::STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// The agent's directory on disk.
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/millrace")]
    pub(crate) data_dir: PathBuf,
}

/// What is wanted of the node.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Install {
    /// The list to join, by its file's name; else the one the runtime uses.
    #[arg(long, value_name = "NAME")]
    pub(crate) list: Option<String>,
    /// How to join: in-place edits the owner's list, own-list puts one in front that follows it, auxiliary joins Multus's
    /// auxiliary chain; else it is chosen by who owns the list.
    #[arg(long, value_enum)]
    pub(crate) way: Option<Way>,
    /// The name of Multus's auxiliary chain; else the one its configuration names.
    #[arg(long, value_name = "NAME")]
    pub(crate) auxiliary_chain: Option<String>,
    /// The plugin to install; else the one beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Who installs: a later one's work is left alone by an earlier one; else POD_NAME, else by-hand.
    #[arg(long, value_name = "NAME")]
    pub(crate) installer: Option<String>,
}

/// Ways into a node's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Our entry in the owner's list.
    InPlace,
    /// A list of our own that comes first and follows the owner's.
    OwnList,
    /// A file in Multus's auxiliary chain.
    Auxiliary,
}
