//! `millrace agent uninstall`: takes everything off this node and prints the proof.

use super::{Leaving, Proof, uninstall};
use crate::agent::config::Config;
use crate::agent::install::command::{binary, find};
use crate::agent::lock::{self, Lock};
use crate::agent::platform::below;
use crate::api::cleared::{self, LastWords};
use crate::args::agent as args;
use anyhow::Context;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long to wait for an agent that serves to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where libcni and Multus remember attachments.
const RESULTS: [&str; 2] = ["/var/lib/cni/results", "/var/lib/cni/multus"];

/// Takes everything off; whether the node is clean. As a container it says so in its last words too, also why it could not begin.
pub(crate) fn run(args: &args::Uninstall, out: &mut impl Write) -> anyhow::Result<bool> {
    let proved = prove(args);
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(file) = variable(cleared::VARIABLE) {
        let node = variable("NODE_NAME").unwrap_or_default();
        let words = match &proved {
            Ok(proof) => proof.last_words(&node),
            Err(error) => LastWords::new(&node, false, 0, &[format!("{error:#}")]),
        };
        // The file is there where somebody reads it; without one the exit says it, as everywhere else.
        if let Err(cause) = say(Path::new(&file), &words) {
            writeln!(out, "the last words cannot be written to {file}: {cause}")?;
        }
    }
    let proof = proved?;
    write!(out, "{proof}")?;
    Ok(proof.is_clean())
}

fn say(file: &Path, words: &LastWords) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(file)?;
    file.write_all(words.write().as_bytes())
}

fn prove(args: &args::Uninstall) -> anyhow::Result<Proof> {
    let who = args.installer.as_deref().unwrap_or("an uninstallation");
    let leaving = leaving(args)?;
    let lock = Lock::take(&args.places.state_dir, who, PATIENCE).map_err(|error| match error {
        lock::Error::Held { .. } => anyhow::Error::from(error)
            .context("an agent serves this node: delete the DaemonSet first, then uninstall"),
        error => error.into(),
    })?;
    let proof = uninstall(&leaving, &mut |_| Ok(()));
    drop(lock);
    Ok(proof)
}

/// What is to be taken off by these flags.
pub(crate) fn leaving(args: &args::Uninstall) -> anyhow::Result<Leaving> {
    let told = match &args.config {
        None => args.places.clone(),
        Some(file) => Config::from_file(file)
            .and_then(|config| crate::agent::places(&args.places, &config.install))
            .context("where things are is not known; leave out --config and name --conf-dir and --bin-dir")?,
    };
    let places = find(&told);
    let usual = || RESULTS.iter().map(|path| below(&args.places.host_root, path)).collect();
    Ok(Leaving {
        conf_dir: places.conf_dir.0,
        bin_dirs: places.bin_dirs.0,
        state_dir: args.places.state_dir.clone(),
        data_dir: args.places.data_dir.clone(),
        results_dirs: if args.results_dir.is_empty() { usual() } else { args.results_dir.clone() },
        auxiliary: args.auxiliary_chain.clone(),
        binary: binary(args.binary.as_deref())?,
        reload_wait: Duration::from_secs(args.reload_wait.into()),
        wait: Duration::from_secs(args.wait.into()),
        purge: args.purge,
        installer: args.installer.clone(),
    })
}
