//! Off this node, in the order in which no pod is hurt: the entry, the runtime's next look, then the plugin.
//!
//! It needs no API server, goes on after a failure and tells all of them (M8), and ends with a proof: what was looked at
//! and what was found there. While an attachment names the plugin, one that passes everything through stays in its place:
//! without any, pods could neither start nor end.

mod attachments;
pub(crate) mod command;
mod proof;
mod reload;
mod tombstone;

pub(crate) use proof::Proof;

use super::install::memory;
use super::install::plan::{Step, claims, retire};
use super::install::publish::{Done, publish, recover};
use super::install::seen::survey;
use super::install::{Claim, Memory, Refusal, Seen, plugin_in};
use attachments::Attachments;
use millrace_host::files::{self, Hook};
use reload::Reload;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is to be taken off, and how patiently.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving {
    /// The directory of the lists.
    pub(crate) conf_dir: PathBuf,
    /// The directories of the plugins.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// The agent's directory on a tmpfs.
    pub(crate) state_dir: PathBuf,
    /// The agent's directory on disk.
    pub(crate) data_dir: PathBuf,
    /// Where runtimes and Multus remember attachments.
    pub(crate) results_dirs: Vec<PathBuf>,
    /// An auxiliary chain that this node may have forgotten.
    pub(crate) auxiliary: Option<String>,
    /// What a plugin that passes everything through is made of if none is installed.
    pub(crate) binary: PathBuf,
    /// How long to wait until the runtime has read its lists.
    pub(crate) reload_wait: Duration,
    /// How long to wait until no attachment names the plugin.
    pub(crate) wait: Duration,
    /// Whether all goes, whatever names it.
    pub(crate) purge: bool,
    /// Whose installation may be taken off; anybody's without a name.
    pub(crate) installer: Option<String>,
}

/// How often our entry is taken out of a list that somebody writes at the same time.
const TRIES: usize = 10;

/// Takes everything off. Whoever calls it holds the lock.
pub(crate) fn uninstall(leaving: &Leaving, hook: &mut Hook<'_>) -> Proof {
    let mut proof = Proof::default();
    if let Some(newer) = newer(leaving, &mut proof) {
        proof.failures.push(Refusal::Newer(newer).to_string());
        return proof;
    }
    let reload = Reload::watch(&leaving.conf_dir);
    let taken = entries(leaving, &mut proof, hook);
    match reload {
        _ if !taken => {}
        Ok(reload) => proof.acts.push(reload.wait(leaving.reload_wait)),
        Err(cause) => {
            proof.acts.push(format!("whether the runtime read its lists again cannot be seen: {cause}"))
        }
    }
    let attachments = attachments::wait(leaving);
    plugin(leaving, &attachments, &mut proof, hook);
    forget(leaving, &mut proof);
    proof::examine(leaving, &attachments, &mut proof);
    proof
}

fn look(leaving: &Leaving) -> Result<Seen, super::install::Error> {
    survey(&leaving.conf_dir, &leaving.bin_dirs, &leaving.data_dir, leaving.auxiliary.as_deref())
}

/// A claim later than that of the installer whose work is to go.
fn newer(leaving: &Leaving, proof: &mut Proof) -> Option<Claim> {
    let installer = leaving.installer.as_ref()?;
    let seen = look(leaving).map_err(|error| proof.failures.push(error.to_string())).ok()?;
    let own = seen.memory.tickets.get(installer).copied().unwrap_or_default();
    let all = claims(&seen).into_iter().chain([seen.memory.last]);
    all.filter(|claim| claim.installer != *installer && claim.generation > own)
        .max_by_key(|claim| claim.generation)
}

/// Takes our entry out of every list; whether there was one.
fn entries(leaving: &Leaving, proof: &mut Proof, hook: &mut Hook<'_>) -> bool {
    let mut taken = false;
    // What lies staged may be an owner's only copy: without this it is not swept.
    let mut swept = match recover(&leaving.conf_dir, &leaving.data_dir, hook) {
        Ok(note) => {
            proof.acts.extend(note);
            vec![leaving.conf_dir.as_path()]
        }
        Err(error) => {
            proof.failures.push(error.to_string());
            vec![]
        }
    };
    let memory = memory::file(&leaving.data_dir);
    swept.extend(memory.parent());
    for folder in swept {
        proof.failures.extend(files::sweep(folder).err().map(|error| error.to_string()));
    }
    for _ in 0..TRIES {
        let seen = match look(leaving) {
            Ok(seen) => seen,
            Err(error) => {
                proof.failures.push(error.to_string());
                return taken;
            }
        };
        let mut memory = seen.memory.clone();
        let (mut overtaken, steps) = (false, retire(&seen, None));
        for step in &steps {
            match publish(&leaving.conf_dir, &leaving.data_dir, step, &mut memory, hook) {
                Ok(Done::Overtaken) => overtaken = true,
                Ok(Done::All) => {
                    taken = true;
                    proof.acts.extend(told(step));
                }
                Err(error) => proof.failures.push(error.to_string()),
            }
        }
        if !overtaken {
            return taken;
        }
    }
    proof.failures.push(format!(
        "our entry could not be taken out of the lists in {}: each of {TRIES} times somebody else wrote meanwhile",
        leaving.conf_dir.display()
    ));
    taken
}

fn told(step: &Step) -> Option<String> {
    match step {
        Step::Restore { list, .. } => Some(format!("took our entry out of {list}")),
        Step::Remove { file, .. } => Some(format!("removed {file}")),
        _ => None,
    }
}

/// The plugin goes, or one that passes everything through comes in its place.
fn plugin(leaving: &Leaving, attachments: &Attachments, proof: &mut Proof, hook: &mut Hook<'_>) {
    let mut stay = attachments.may_name_us() && !leaving.purge;
    // A list that still names the plugin needs one, whatever else was asked for.
    stay |= !proof.failures.is_empty();
    for folder in leaving.bin_dirs.iter().filter(|folder| folder.is_dir()) {
        let path = plugin_in(folder);
        proof.failures.extend(files::sweep(folder).err().map(|error| error.to_string()));
        let done = if !stay {
            files::remove(&path, hook)
                .map(|there| there.then(|| format!("removed {}", path.display())))
                .map_err(|error| error.to_string())
        } else if path.exists() {
            tombstone::put(&path, &path, hook)
        } else {
            Ok(None)
        };
        match done {
            Ok(act) => proof.acts.extend(act),
            Err(error) => proof.failures.push(error),
        }
    }
    let there = leaving.bin_dirs.iter().any(|folder| plugin_in(folder).exists());
    // Somebody removed it before us, and attachments still need it.
    if stay
        && !there
        && attachments.names_us()
        && let Some(folder) = leaving.bin_dirs.iter().find(|folder| folder.is_dir())
    {
        match tombstone::put(&leaving.binary, &plugin_in(folder), hook) {
            Ok(act) => proof.acts.extend(act),
            Err(error) => proof.failures.push(error),
        }
    }
}

/// What is remembered of this node goes, except what is needed to finish.
fn forget(leaving: &Leaving, proof: &mut Proof) {
    if !proof.failures.is_empty() && !leaving.purge {
        return;
    }
    let mut gone = vec![memory::file(&leaving.data_dir)];
    if leaving.purge {
        gone.push(leaving.state_dir.join("backend"));
        let records = leaving.state_dir.join("attachments");
        proof
            .failures
            .extend(absent(fs::remove_dir_all(&records)).err().map(|cause| failed(&records, &cause)));
    }
    for path in gone {
        proof.failures.extend(absent(fs::remove_file(&path)).err().map(|cause| failed(&path, &cause)));
    }
    if let Some(folder) = memory::file(&leaving.data_dir).parent() {
        // Gone if it is empty; it is the flight recorder's neighbour otherwise.
        let _ = fs::remove_dir(folder);
    }
    let remembered = Memory::load(&leaving.data_dir).unwrap_or_default();
    if remembered != Memory::default() {
        proof.failures.push(format!("{} is still there", memory::file(&leaving.data_dir).display()));
    }
}

fn failed(path: &Path, cause: &io::Error) -> String {
    format!("cannot remove {}: {cause}", path.display())
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A moment `patience` from now.
fn deadline(patience: Duration) -> Instant {
    Instant::now() + patience
}
