//! The flags of `millrace report`. What it does is in `cli`.

use super::cluster::{Cluster, Scope, duration, past};
use super::lifecycle::Home;
use super::subject::{Subject, subject};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Gather into one file what somebody needs who helps without access to the cluster.
///
/// The first page, README.txt, says what is wrong and what to do next; index.json, what is in the file and what could not be read.
/// Beside them: what check and drift find, the MeshCNI and the nodes' reports, all objects of Millrace, events, logs of controller
/// and agents, and of each pod that is named explain, why and verify. Secrets are left out, and so are tokens, keys, other
/// annotations and the environment of your pods. Nothing is changed in the cluster.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT)]
pub(crate) struct Report {
    /// Pods to be looked into as well: POD, deploy/NAME, namespace/NAME or NAMESPACE/POD; without any, those of -n or -A. No probe is sent.
    #[arg(value_name = "POD|KIND/NAME", value_parser = subject)]
    pub(crate) subjects: Vec<Subject>,
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// Read the logs of these nodes' agents, and of no others; else of 50 at most, those of pods that are named and of failing nodes
    /// first.
    #[arg(long = "node", value_name = "NODE", value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,
    /// How far back logs and events go, as in 30m or 72h.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = past)]
    pub(crate) since: Duration,
    /// The file, which must not be there yet; or the directory that it is made in; - for standard output. Else it is made here, and
    /// named after the moment.
    #[arg(short = 'O', long, value_name = "FILE|DIRECTORY")]
    pub(crate) to: Option<PathBuf>,
    /// How long gathering may take; what is gathered by then is written.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// List what would be gathered, and ask nobody for anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

const EXIT: &str = "\
Exit status: 0 the report is written and whole; 1 it is written, and its index says what could not be read; 2 nothing is \
written; 130 it was interrupted, and nothing is written.";
