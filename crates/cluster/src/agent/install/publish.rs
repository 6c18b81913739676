//! Doing what was planned: the plugin first, proved to run, then the lists, each swapped in one instant.
//!
//! An owner's list is swapped with ours, and what came out must be what we read: if the owner wrote in between, his file
//! goes back and all is looked at anew, also by the next process if this one ends in between. An owner who took his list
//! away does not get it back from us.

use super::memory::Swap;
use super::plan::{Plan, Step};
use super::{Change, Error, Memory, PLUGIN_MODE, Refusal, Seen, Target, plugin_in, prove, seen};
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
                put_plugin(&mut source, &plugin, &plan.versions, hook)?;
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

/// Ends what installers began that died, and removes what they left. Returns what to tell of it.
pub(crate) fn sweep(target: &Target, hook: &mut Hook<'_>) -> Result<Vec<String>, Error> {
    let memory = super::memory::file(&target.data_dir);
    let folders = target.bin_dirs.iter().map(|folder| folder.as_path());
    let mut notes: Vec<String> = recover(&target.conf_dir, &target.data_dir, hook)?.into_iter().collect();
    for folder in folders.chain([target.conf_dir.as_path()]).chain(memory.parent()) {
        let left = files::sweep(folder)?;
        notes.extend(
            left.iter().map(|path| format!("removed {}, which a killed installer left", path.display())),
        );
    }
    Ok(notes)
}

/// Gives an owner back what he wrote at the instant of a swap whose process ended before it could. Comes before whatever
/// sweeps. Returns what to tell of it.
///
/// Only while the list holds what that process put there is what lies staged surely what came out of its place. Once
/// somebody else has written the list, his is the newer.
pub(crate) fn recover(
    conf_dir: &Path,
    data_dir: &Path,
    hook: &mut Hook<'_>,
) -> Result<Option<String>, Error> {
    let mut memory = Memory::load(data_dir)?;
    let Some(Swap { list, from, to }) = memory.swap.take() else { return Ok(None) };
    let path = conf_dir.join(&list);
    let mut note = None;
    if holds(&path, &to)? {
        for staged in files::left(conf_dir)? {
            if !holds(staged.path(), &from)? && !holds(staged.path(), &to)? {
                give_back(staged, &path, &to, hook)?;
                note = Some(format!(
                    "{list} is again as its owner wrote it at the instant at which an installer was killed"
                ));
            }
        }
    }
    memory.keep(data_dir, hook)?;
    Ok(note)
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
            memory.swap = Some(begun(list, from, to));
            memory.keep(data_dir, hook)?;
            let done = swap(&conf_dir.join(list), from, to, hook)?;
            memory.swap = None;
            memory.keep(data_dir, hook)?;
            Ok(done)
        }
        Step::Restore { list, from, to } => {
            memory.swap = Some(begun(list, from, to));
            // A disk that is full is no reason to leave our entry where it is; it is told afterwards.
            let kept = memory.keep(data_dir, hook);
            let done = swap(&conf_dir.join(list), from, to, hook)?;
            memory.swap = None;
            if done == Done::All {
                memory.edited.remove(list);
            }
            kept.and_then(|()| memory.keep(data_dir, hook)).map(|()| done)
        }
        Step::Write { file, from: _, to, like } => {
            let path = conf_dir.join(file);
            if let Some((folder, _)) = file.split_once('/') {
                auxiliary(conf_dir, folder, data_dir, memory, hook)?;
            }
            let like = match like {
                None => Like::new(LIST_MODE),
                Some(like) => match Like::of(&conf_dir.join(like))? {
                    // It is ours, whoever owns the list it follows: giving files away needs a privilege.
                    Some(like) => Like { owner: None, ..like },
                    None => return Ok(Done::Overtaken),
                },
            };
            stage(&path, to, &like, hook)?.put(&path, hook)?;
            Ok(Done::All)
        }
        Step::Remove { file, from: _ } => {
            files::remove(&conf_dir.join(file), hook)?;
            if let Some((folder, _)) = file.split_once('/') {
                if memory.made_auxiliary {
                    // It stays if anybody else has a file in it.
                    let _ = fs::remove_dir(conf_dir.join(folder));
                }
                (memory.auxiliary, memory.made_auxiliary) = (None, false);
                memory.keep(data_dir, hook)?;
            }
            Ok(Done::All)
        }
    }
}

/// The folder of an auxiliary chain; whether it is ours is remembered before it is made.
fn auxiliary(
    conf_dir: &Path,
    name: &str,
    data_dir: &Path,
    memory: &mut Memory,
    hook: &mut Hook<'_>,
) -> Result<(), Error> {
    let folder = conf_dir.join(name);
    let before = memory.auxiliary.replace(name.to_owned());
    memory.made_auxiliary = !folder.is_dir() || (memory.made_auxiliary && before.as_deref() == Some(name));
    memory.keep(data_dir, hook)?;
    match fs::create_dir(&folder) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(|cause| files::Error::new("create", &folder, cause))?,
    }
    files::sweep(&folder)?;
    Ok(())
}

/// Puts the plugin that `source` holds at `to`. It must run from its directory, and speak the `wanted` versions, before
/// anybody can execute it under its name.
pub(crate) fn put_plugin(
    source: &mut dyn Read,
    to: &Path,
    wanted: &[String],
    hook: &mut Hook<'_>,
) -> Result<(), Error> {
    let folder = to.parent().unwrap_or(Path::new("/"));
    let label = Like::of(to)?.and_then(|there| there.label);
    let like = Like { label, ..Like::new(PLUGIN_MODE) };
    let staged = files::stage(folder, source, &like, hook)?;
    if let Err(error) = prove::speaks(staged.path(), wanted) {
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
    files::stage(folder, &mut text.as_bytes(), like, hook).map_err(|error| match like.owner {
        Some(owner)
            if error.act == files::GIVE_OWNER && error.cause.kind() == io::ErrorKind::PermissionDenied =>
        {
            let list = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Error::Refused(Refusal::Foreign { list, owner })
        }
        _ => error.into(),
    })
}

fn begun(list: &str, from: &str, to: &str) -> Swap {
    let digest = |text: &str| seen::digest(text.as_bytes());
    Swap { list: list.to_owned(), from: digest(from), to: digest(to) }
}

/// Swaps `to` in for the file at `path`, if that holds `from` at that instant.
fn swap(path: &Path, from: &str, to: &str, hook: &mut Hook<'_>) -> Result<Done, Error> {
    let Some(like) = Like::of(path)? else { return Ok(Done::Overtaken) };
    let staged = stage(path, to, &like, hook)?;
    let from = seen::digest(from.as_bytes());
    if !holds(path, &from)? {
        staged.discard();
        return Ok(Done::Overtaken);
    }
    let Some(out) = exchange(staged, path, hook)? else { return Ok(Done::Overtaken) };
    if holds(out.path(), &from)? {
        out.discard();
        return Ok(Done::All);
    }
    give_back(out, path, &seen::digest(to.as_bytes()), hook)?;
    Ok(Done::Overtaken)
}

/// `theirs` was written since we looked: it goes back to `path`, unless something newer is there by now, or nothing.
fn give_back(theirs: Staged, path: &Path, ours: &str, hook: &mut Hook<'_>) -> Result<(), Error> {
    let Some(out) = exchange(theirs, path, hook)? else { return Ok(()) };
    if holds(out.path(), ours)? {
        out.discard();
    } else if let Some(older) = exchange(out, path, hook)? {
        older.discard();
    }
    Ok(())
}

/// What came out of `path`; nothing, and nothing was put there, if its owner took the file away meanwhile.
fn exchange(staged: Staged, path: &Path, hook: &mut Hook<'_>) -> Result<Option<Staged>, Error> {
    match staged.exchange(path, hook) {
        Err(error) if error.cause.kind() == io::ErrorKind::NotFound => Ok(None),
        out => Ok(Some(out?)),
    }
}

/// Whether the file at `path` is there and has this digest. One too long to be a list has not.
fn holds(path: &Path, digest: &str) -> Result<bool, Error> {
    match seen::read(path, seen::LONGEST_LIST) {
        Err(cause) if cause.kind() == io::ErrorKind::Other => Ok(false),
        Err(cause) => Err(files::Error::new("read", path, cause).into()),
        Ok(bytes) => Ok(bytes.is_some_and(|bytes| seen::digest(&bytes) == digest)),
    }
}
