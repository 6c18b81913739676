//! The controller: makes a cluster what its MeshCNI says, and says how far that is.
//!
//! What follows from what is seen is decided by pure functions, of which the list below is the table of contents; `reconcile`
//! does it. It never touches a pod that runs, but for evicting one that can never start.

mod accepted;
pub(crate) mod admission;
pub(crate) mod apply;
pub(crate) mod children;
mod clearings;
pub(crate) mod converting;
pub(crate) mod decision;
mod heal;
mod judged;
pub(crate) mod lease;
pub(crate) mod metrics;
pub(crate) mod observed;
mod pages;
pub(crate) mod platforms;
pub(crate) mod preconditions;
mod reconcile;
pub(crate) mod revisions;
pub(crate) mod rollout;
mod run;
pub(crate) mod status;
pub(crate) mod survey;
mod taint;
pub(crate) mod targets;
mod transition;
pub(crate) mod watches;
pub(crate) mod workloads;
pub(crate) mod world;

use crate::args::controller::{Console, Controller};
use crate::telemetry;
use anyhow::Result;
use kube::Config;
use tokio_util::sync::CancellationToken;

/// What serves the console beside a controller, until the token is cancelled: with the flags, the controller's own way to the API server
/// and its namespace. The controller knows nothing else of it.
pub(crate) type Serve = fn(&Console, Config, String, CancellationToken) -> Result<()>;

/// Runs the controller.
pub(crate) fn run(args: &Controller, console: Serve) -> Result<()> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    telemetry::start(&args.log, variable)?;
    // Two of one name would both act: a process is told from another on the same machine.
    let name = args.identity.clone().or_else(|| variable("POD_NAME"));
    let identity = name.unwrap_or_else(|| format!("millrace-controller-{}", std::process::id()));
    let namespace = args.namespace.clone().or_else(|| variable("POD_NAMESPACE"));
    let namespace = namespace.unwrap_or_else(|| crate::print::words::NAMESPACE.to_owned());
    run::run(args, identity, namespace, console)
}
