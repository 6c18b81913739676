//! `millrace agent uninstall`: takes everything off this node and prints the proof.

use super::{Leaving, uninstall};
use crate::agent::install::command::{binary, find};
use crate::agent::lock::Lock;
use crate::agent::platform::below;
use crate::args::agent as args;
use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

/// How long to wait for an agent that serves to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where libcni and Multus remember attachments.
const RESULTS: [&str; 2] = ["/var/lib/cni/results", "/var/lib/cni/multus"];

/// Takes everything off; whether the node is clean.
pub(crate) fn run(args: &args::Uninstall, out: &mut impl Write) -> anyhow::Result<bool> {
    let who = args.installer.as_deref().unwrap_or("an uninstallation");
    let lock = Lock::take(&args.places.state_dir, who, PATIENCE)?;
    let leaving = leaving(args)?;
    let proof = uninstall(&leaving, &mut |_| Ok(()));
    drop(lock);
    write!(out, "{proof}")?;
    Ok(proof.is_clean())
}

/// What is to be taken off by these flags.
pub(crate) fn leaving(args: &args::Uninstall) -> anyhow::Result<Leaving> {
    let mut told = args.places.clone();
    if let Some(file) = &args.config {
        configured(file, &mut told)
            .with_context(|| format!("cannot use the configuration {}", file.display()))?;
    }
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

/// The most a configuration may hold.
const LONGEST: u64 = 1 << 20;

/// Takes the places that the configuration names and no flag does. What else it says, right or wrong, is no reason to stay.
fn configured(file: &Path, told: &mut args::Places) -> anyhow::Result<()> {
    let mut text = String::new();
    let read = File::open(file)?.take(LONGEST + 1).read_to_string(&mut text)?;
    anyhow::ensure!(read as u64 <= LONGEST, "it holds more than {LONGEST} bytes");
    if text.trim().is_empty() {
        return Ok(());
    }
    let all: Value =
        serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim()))?;
    let said = |key: &str| all.pointer(&format!("/install/{key}")).and_then(Value::as_str);
    if let (None, Some(name)) = (told.platform, said("platform")) {
        let platform = args::Platform::from_str(name, false);
        told.platform = Some(platform.map_err(|_| anyhow::anyhow!("there is no platform {name:?}"))?);
    }
    if told.conf_dir.is_none() {
        told.conf_dir = said("confDir").map(Into::into);
    }
    if told.bin_dir.is_empty() {
        told.bin_dir.extend(said("binDir").map(Into::into));
    }
    Ok(())
}
