//! Doing what was planned: the plugin first, proved to run, then the lists, each swapped in one instant.
//!
//! An owner's list is swapped with ours, and what came out must be what we read: if the owner wrote in between, his file
//! goes back and all is looked at anew. An owner who took his list away does not get it back from us.

use super::plan::{Plan, Step};
use super::{Change, Error, Memory, PLUGIN_MODE, Seen, Target, plugin_in, prove, seen};
use millrace_host::files::{self, Hook, Like, Staged};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// To the end.
    All,
    /// Somebody wrote meanwhile: look again.
    Overtaken,
}

/// The mode of a list of our own that is like no other.
const LIST_MODE: u32 = 0o600;

/// Does what is planned, and notes in `change` what changed.
pub(crate) fn carry_out(
    target: &Target,
    seen: &Seen,
    plan: &Plan,
    change: &mut Change,
    hook: &mut Hook<'_>,
) -> Result<Done, Error> {
    let plugin = plugin_in(&seen.bin_dir);
    let mut memory = seen.memory.clone();
    let publishes = |step: &Step| matches!(step, Step::Edit { .. } | Step::Write { .. });
    for step in &plan.steps {
        if publishes(step) {
            prove::speaks(&plugin, &plan.versions)?;
        }
        match step {
            Step::Binary => {
                let from = &target.wish.binary;
                let mut source = File::open(from).map_err(|cause| files::Error::new("read", from, cause))?;
                put_plugin(&mut source, &plugin, hook)?;
                change.binary = true;
            }
            step => {
                if publish(&target.conf_dir, &target.data_dir, step, &mut memory, hook)? == Done::Overtaken {
                    return Ok(Done::Overtaken);
                }
                change.list = true;
            }
        }
    }
    if plan.place.is_ok() {
        memory.last = target.wish.claim.clone();
        memory.keep(&target.data_dir, hook)?;
    }
    Ok(Done::All)
}

/// Removes what installers left that died. Returns what to tell of it.
pub(crate) fn sweep(target: &Target) -> Result<Vec<String>, Error> {
    let memory = super::memory::file(&target.data_dir);
    let folders = target.bin_dirs.iter().map(|folder| folder.as_path());
    let mut notes = Vec::new();
    for folder in folders.chain([target.conf_dir.as_path()]).chain(memory.parent()) {
        let left = files::sweep(folder)?;
        notes.extend(
            left.iter().map(|path| format!("removed {}, which a killed installer left", path.display())),
        );
    }
    Ok(notes)
}

/// Takes one step on a list, and remembers first what is needed to take it back.
pub(crate) fn publish(
    conf_dir: &Path,
    data_dir: &Path,
    step: &Step,
    memory: &mut Memory,
    hook: &mut Hook<'_>,
) -> Result<Done, Error> {
    match step {
        Step::Binary => Ok(Done::All),
        Step::Edit { list, from, to, has_ours } => {
            memory.edit(list, from, to, *has_ours);
            memory.keep(data_dir, hook)?;
            swap(&conf_dir.join(list), from, to, hook)
        }
        Step::Restore { list, from, to } => {
            let done = swap(&conf_dir.join(list), from, to, hook)?;
            if done == Done::All && memory.edited.remove(list).is_some() {
                memory.keep(data_dir, hook)?;
            }
            Ok(done)
        }
        Step::Write { file, from: _, to, like } => {
            let path = conf_dir.join(file);
            if let Some((folder, _)) = file.split_once('/') {
                memory.auxiliary = Some(folder.to_owned());
                memory.keep(data_dir, hook)?;
                let folder = conf_dir.join(folder);
                fs::create_dir_all(&folder).map_err(|cause| files::Error::new("create", &folder, cause))?;
                files::sweep(&folder)?;
            }
            let like = match like {
                None => Like::new(LIST_MODE),
                Some(like) => match Like::of(&conf_dir.join(like))? {
                    Some(like) => like,
                    None => return Ok(Done::Overtaken),
                },
            };
            stage(&path, to, &like, hook)?.put(&path, hook)?;
            Ok(Done::All)
        }
        Step::Remove { file, from: _ } => {
            files::remove(&conf_dir.join(file), hook)?;
            if let Some((folder, _)) = file.split_once('/') {
                // Multus's folder stays if anybody else has a file in it.
                let _ = fs::remove_dir(conf_dir.join(folder));
                memory.auxiliary = None;
                memory.keep(data_dir, hook)?;
            }
            Ok(Done::All)
        }
    }
}

/// Puts the plugin that `source` holds at `to`. It must run from its directory before anybody can execute it under its name.
pub(crate) fn put_plugin(source: &mut dyn Read, to: &Path, hook: &mut Hook<'_>) -> Result<(), Error> {
    let folder = to.parent().unwrap_or(Path::new("/"));
    let label = Like::of(to)?.and_then(|there| there.label);
    let like = Like { label, ..Like::new(PLUGIN_MODE) };
    let staged = files::stage(folder, source, &like, hook)?;
    if let Err(error) = prove::versions(staged.path()) {
        staged.discard();
        return Err(match error {
            Error::DoesNotRun { why, .. } => Error::DoesNotRun { path: folder.to_owned(), why },
            other => other,
        });
    }
    Ok(staged.put(to, hook)?)
}

fn stage(path: &Path, text: &str, like: &Like, hook: &mut Hook<'_>) -> Result<Staged, Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok(files::stage(folder, &mut text.as_bytes(), like, hook)?)
}

/// Swaps `to` in for the file at `path`, if that holds `from` at that instant.
fn swap(path: &Path, from: &str, to: &str, hook: &mut Hook<'_>) -> Result<Done, Error> {
    let Some(like) = Like::of(path)? else { return Ok(Done::Overtaken) };
    let staged = stage(path, to, &like, hook)?;
    if !holds(path, from)? {
        staged.discard();
        return Ok(Done::Overtaken);
    }
    let out = match staged.exchange(path, hook) {
        // The owner took it away since we looked.
        Err(error) if error.cause.kind() == io::ErrorKind::NotFound => return Ok(Done::Overtaken),
        out => out?,
    };
    let Some(out) = out else { return Ok(Done::All) };
    if holds(out.path(), from)? {
        out.discard();
        return Ok(Done::All);
    }
    give_back(out, path, to, hook)?;
    Ok(Done::Overtaken)
}

/// `theirs` was written since we looked: it goes back to `path`, unless something newer is there by now.
fn give_back(theirs: Staged, path: &Path, ours: &str, hook: &mut Hook<'_>) -> Result<(), Error> {
    let Some(out) = theirs.exchange(path, hook)? else { return Ok(()) };
    if holds(out.path(), ours)? {
        out.discard();
    } else if let Some(older) = out.exchange(path, hook)? {
        older.discard();
    }
    Ok(())
}

fn holds(path: &Path, text: &str) -> Result<bool, Error> {
    let bytes =
        seen::read(path, seen::LONGEST_LIST).map_err(|cause| files::Error::new("read", path, cause))?;
    Ok(bytes.is_some_and(|bytes| bytes == text.as_bytes()))
}
