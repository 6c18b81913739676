//! What the demo keeps below `/run`: its lock and its pods' files.
//!
//! Whatever happens to a run, the next one removes what it left: namespaces by their prefix, and processes that live in
//! one of them and name this directory, so that neither a stranger with a reused pid nor somebody's shell inside a pod
//! is ever hit. Two demos never run at once.

use crate::demo::{node, process};
use anyhow::{Context, bail};
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where everything is kept; on tmpfs, so that a reboot leaves nothing either.
pub(crate) const DIRECTORY: &str = "/run/millrace-demo";
const LOCK: &str = "lock";

/// The demo's directory, held by its lock.
#[derive(Debug)]
pub(crate) struct State {
    directory: PathBuf,
    removed: bool,
    // The kernel lets go of the lock when this is closed, however we end; children do not inherit it (O_CLOEXEC).
    _lock: File,
}

impl State {
    /// Takes the directory, or says who has it.
    pub(crate) fn take(directory: &Path) -> anyhow::Result<State> {
        let path = directory.join(LOCK);
        loop {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            let mut lock =
                match File::options().read(true).write(true).create(true).truncate(false).open(&path) {
                    Ok(lock) => lock,
                    // A demo that just ended took the directory with it.
                    Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(cause) => {
                        return Err(cause).with_context(|| format!("cannot open {}", path.display()));
                    }
                };
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let who = fs::read_to_string(&path).unwrap_or_default();
                    bail!(
                        "another millrace demo is running here (pid {}); end it first, or look at it",
                        who.trim()
                    );
                }
                Err(cause) => return Err(cause).with_context(|| format!("cannot lock {}", path.display())),
            }
            // Locking a file that its last holder has just removed holds nothing.
            if fs::metadata(&path)
                .is_ok_and(|there| lock.metadata().is_ok_and(|ours| there.ino() == ours.ino()))
            {
                lock.set_len(0)?;
                writeln!(lock, "{}", std::process::id())?;
                return Ok(State { directory: directory.to_owned(), removed: false, _lock: lock });
            }
        }
    }

    /// The path of `name` in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file that everybody may read; the proxies are other users.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        // Beside and renamed: who reads it meanwhile, as programs read the names of services, reads the whole of either.
        let beside = path.with_extension("new");
        let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Removes what an earlier run left; says what it was, or nothing.
    pub(crate) fn sweep(&self) -> anyhow::Result<Option<String>> {
        let namespaces = node::names();
        let paths: Vec<PathBuf> = namespaces.iter().map(|name| node::path(name)).collect();
        let left = process::living_in(&paths, &self.directory);
        let deadline = Instant::now() + Duration::from_secs(5);
        for orphan in &left {
            orphan.kill(deadline).context("a process of an earlier demo does not die")?;
        }
        for name in &namespaces {
            node::remove(name)?;
        }
        self.clear()?;
        let nothing = left.is_empty() && namespaces.is_empty();
        Ok((!nothing).then(|| format!("{} processes, {} network namespaces", left.len(), namespaces.len())))
    }

    /// Removes all but the lock.
    fn clear(&self) -> anyhow::Result<()> {
        let entries = fs::read_dir(&self.directory).context("cannot list the demo's directory")?;
        for entry in entries.flatten().filter(|entry| entry.file_name() != LOCK) {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Whether it has been removed, and may be another demo's by now.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }

    /// Removes the directory, the lock last: from then on it may be another demo's.
    pub(crate) fn remove(&mut self) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        self.clear()?;
        fs::remove_file(self.path(LOCK)).context("cannot remove the lock")?;
        match fs::remove_dir(&self.directory) {
            // Another demo has come in since.
            Err(cause) if cause.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other.with_context(|| format!("cannot remove {}", self.directory.display())),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(cause) = self.remove() {
            eprintln!("demo: {cause:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("millrace-demo-state-{name}-{}", std::process::id()))
    }

    #[test]
    fn two_demos_never_hold_one_directory() {
        let directory = directory("lock");
        let mut first = State::take(&directory).unwrap();
        let refusal = State::take(&directory).unwrap_err().to_string();
        assert!(refusal.contains(&format!("(pid {})", std::process::id())), "{refusal}");
        first.remove().unwrap();
        drop(first);
        drop(State::take(&directory).unwrap());
        assert!(!directory.exists());
    }
}
