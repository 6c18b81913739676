//! The flags of `millrace print`. Flags only: what is printed is in `print`.

pub(crate) use crate::api::platform::Platform;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Print what installs the controller, or the node agent alone: manifests, a chart, or a tree for Kustomize.
#[derive(Debug, Args)]
pub(crate) struct Print {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    Manifests(Manifests),
    Controller(Controller),
    Uninstall(Uninstall),
    Chart(Chart),
    Kustomize(Folder),
    Config(Config),
    /// Print the CustomResourceDefinitions of MeshCNI and MeshCNINode, for kubectl apply.
    Crd,
}

/// Print the objects that run the agent, for kubectl apply.
#[derive(Debug, Args)]
pub(crate) struct Manifests {
    #[command(flatten)]
    pub(crate) variant: Variant,
}

/// Print everything that runs the controller, for kubectl apply; it makes the agents itself, as the MeshCNI says.
#[derive(Debug, Args)]
pub(crate) struct Controller {
    /// The image of the controller and of its agents; without it the one that `make image` makes.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
}

/// Print a Job for each node that takes everything of ours off it; delete the DaemonSet first.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    pub(crate) variant: Variant,
    /// A node; may be repeated.
    #[arg(long, value_name = "NODE", value_delimiter = ',', required = true)]
    pub(crate) node: Vec<String>,
}

/// Print the agent's configuration that a MeshCNI makes; or everything that is wrong with the MeshCNI, with status 1.
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// The MeshCNI, YAML or JSON; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Write a Helm chart: of the agent alone, or of the controller.
#[derive(Debug, Args)]
pub(crate) struct Chart {
    /// The controller's.
    #[arg(long)]
    pub(crate) controller: bool,
    #[command(flatten)]
    pub(crate) folder: Folder,
}

/// Write a folder, which is made when it is not there. Files of other names in it are left alone.
#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// The folder.
    #[arg(short, long, value_name = "DIRECTORY")]
    pub(crate) output: PathBuf,
}

/// What may differ from cluster to cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct Variant {
    /// What the agent may do.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) profile: Profile,
    /// Where things are on the nodes.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) platform: Platform,
    /// The agent's image; without it the one that `make image` makes.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
}

/// What the agent may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Profile {
    /// No capability; reads pods and namespaces, and writes nothing in the cluster but events.
    #[default]
    Zero,
    /// Also looks into pods and repairs or evicts them.
    Audit,
}

impl Profile {
    /// All of them.
    pub(crate) const ALL: [Profile; 2] = [Profile::Zero, Profile::Audit];

    /// Its name on the command line and in values.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Profile::Zero => "zero",
            Profile::Audit => "audit",
        }
    }
}
