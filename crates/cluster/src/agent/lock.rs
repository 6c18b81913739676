//! Who serves this node: one process at a time, by a lock that the kernel takes back when its holder dies.
//!
//! The lock says who may write; the generation in `install::memory` says who may write over whom.

use rustix::event::{Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The lock, held for as long as this lives.
#[derive(Debug)]
#[must_use = "the lock is held only while this lives"]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

/// Why the lock was not got.
#[derive(Debug)]
pub(crate) enum Error {
    /// Somebody has it.
    Held { path: PathBuf, by: String, waited: Duration },
    /// Its file could not be used.
    Io { path: PathBuf, cause: io::Error },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Held { path, by, waited } => write!(
                f,
                "{} is held by {by}, also after {waited:?}; end that first: an agent that serves would undo what is done \
                 without it",
                path.display()
            ),
            Error::Io { path, cause } => {
                write!(
                    f,
                    "cannot lock {}: {cause}; name a directory of root's own with --state-dir",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// How often a lock is tried: no event tells that one is free.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// The most read of who has it.
const LONGEST: u64 = 512;

impl Lock {
    /// Takes the lock of `state_dir` if it is free. `who` is what others are told.
    pub(crate) fn try_take(state_dir: &Path, who: &str) -> Result<Option<Lock>, Error> {
        let path = state_dir.join("agent.lock");
        let failed = |cause: io::Error| Error::Io { path: path.clone(), cause };
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed)?;
        let mut options = File::options();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            locked => locked.map_err(|errno| failed(errno.into()))?,
        }
        // Whoever wiped the directory in between took the name away: a lock without one keeps nobody out.
        if !is_at(&file, &path) {
            return Ok(None);
        }
        // Only told to people; the lock is the kernel's.
        let told = file.set_len(0).and_then(|()| file.rewind());
        told.and_then(|()| writeln!(file, "{who} (process {})", std::process::id())).map_err(failed)?;
        Ok(Some(Lock { path, file }))
    }

    /// Whether it keeps others out: not when its file was removed, or another one has its name.
    pub(crate) fn is_known(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// Takes the lock of `state_dir`, waiting at most `patience` for it.
    pub(crate) fn take(state_dir: &Path, who: &str, patience: Duration) -> Result<Lock, Error> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(lock) = Lock::try_take(state_dir, who)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                let path = state_dir.join("agent.lock");
                return Err(Error::Held { by: holder(&path), path, waited: patience });
            }
            // Being interrupted is as good as having waited.
            let _ = poll(&mut [], Some(&GLANCE));
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |facts: std::fs::Metadata| (facts.dev(), facts.ino());
    let (ours, named) = (file.metadata().map(identity), std::fs::metadata(path).map(identity));
    matches!((ours, named), (Ok(ours), Ok(named)) if ours == named)
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "somebody".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_he_is_gone() {
        let folder = std::env::temp_dir().join(format!("millrace-lock-{}", std::process::id()));
        let first = Lock::try_take(&folder, "first").expect("a lock").expect("free");
        assert!(Lock::try_take(&folder, "second").expect("a lock").is_none());
        let error = Lock::take(&folder, "second", Duration::from_millis(1)).expect_err("held");
        assert!(error.to_string().contains("held by first (process"), "{error}");
        drop(first);
        let _second = Lock::take(&folder, "second", Duration::from_secs(30)).expect("free again");
        let _ = std::fs::remove_dir_all(&folder);
    }
    /// As when somebody wipes /run/millrace under an agent that serves.
    #[test]
    fn a_lock_whose_file_was_taken_away_keeps_nobody_out_and_says_so() {
        let folder = std::env::temp_dir().join(format!("millrace-lock-wiped-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let first = Lock::try_take(&folder, "first").expect("a lock").expect("free");
        assert!(first.is_known());
        std::fs::remove_dir_all(&folder).expect("it can be wiped");
        assert!(!first.is_known(), "its name is gone");
        let second = Lock::try_take(&folder, "second").expect("a lock").expect("free by name");
        assert!(second.is_known() && !first.is_known(), "the name is another's");
        let _ = std::fs::remove_dir_all(&folder);
    }
}
