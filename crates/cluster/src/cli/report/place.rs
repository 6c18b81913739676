//! Where a report goes: a file that was not there, whole or not at all, readable for its owner alone; or standard output.
//!
//! The place is tried before anything is gathered. While it is written the file has no name where the file system knows such
//! files, so that not even a kill leaves one; else one that nobody reads, which goes with whoever drops it. Nothing is replaced.

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where it goes.
#[derive(Debug)]
pub(super) enum Place {
    /// Standard output.
    Out,
    /// A file.
    File(Draft),
}

/// A file that is not there yet.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    /// Its name until it is whole, if it must have one.
    beside: Option<PathBuf>,
    path: PathBuf,
}

/// The place that was asked for. `name` is that of a file in a directory, or here.
pub(super) fn of(asked: Option<&Path>, name: &str, terminal: bool) -> Result<Place> {
    let path = match asked {
        Some(path) if path == Path::new("-") => {
            if terminal {
                bail!("an archive says nothing on a terminal: name a file with --to, or pipe it on");
            }
            return Ok(Place::Out);
        }
        Some(path) if path.is_dir() => path.join(name),
        Some(path) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            bail!("there is no directory {}: make it, or name another with --to", path.display());
        }
        Some(path) => path.to_owned(),
        None => PathBuf::from(name),
    };
    Draft::at(path).map(Place::File)
}

impl Draft {
    fn at(path: PathBuf) -> Result<Draft> {
        refuse_what_is_there(&path)?;
        let folder = folder(&path);
        let nameless =
            openat(CWD, folder, OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        match nameless {
            Ok(file) => Ok(Draft { file: file.into(), beside: None, path }),
            // A file system, or a kernel, that does not know such files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Draft::beside(path),
            Err(cause) => Err(cannot(&path, &cause.into())),
        }
    }

    fn beside(path: PathBuf) -> Result<Draft> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = folder(&path).join(format!(".{name}.{}.part", std::process::id()));
        let opened = File::options().write(true).create_new(true).mode(0o600).open(&beside);
        let file = opened.map_err(|cause| cannot(&path, &cause))?;
        Ok(Draft { file, beside: Some(beside), path })
    }

    /// Has it written, and gives it its name once it is whole.
    pub(super) fn fill(mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<PathBuf> {
        let mut whole = io::BufWriter::new(&mut self.file);
        let written = write(&mut whole).and_then(|()| whole.flush());
        drop(whole);
        let written = written.and_then(|()| self.file.sync_all());
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        match self.publish() {
            Ok(()) => Ok(self.path.clone()),
            Err(Errno::EXIST) => Err(refused(&self.path)),
            Err(cause) => Err(cannot(&self.path, &cause.into())),
        }
    }

    fn publish(&mut self) -> Result<(), Errno> {
        match self.beside.take() {
            None => {
                let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                linkat(CWD, open, CWD, &self.path, AtFlags::SYMLINK_FOLLOW)
            }
            Some(beside) => {
                let renamed = match renameat_with(CWD, &beside, CWD, &self.path, RenameFlags::NOREPLACE) {
                    // NFS among others; a link replaces nothing either.
                    Err(Errno::INVAL) => linkat(CWD, &beside, CWD, &self.path, AtFlags::empty()),
                    renamed => renamed,
                };
                self.beside = Some(beside).filter(|beside| beside.exists());
                renamed
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // Nobody is left to tell.
            let _ = std::fs::remove_file(beside);
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn refuse_what_is_there(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(refused(path)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cannot(path, &cause)),
    }
}

fn refused(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} is there already, and nothing is overwritten: name another file with --to",
        path.display()
    )
}

fn cannot(path: &Path, cause: &io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot make {}: {cause}; name another place with --to", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("millrace-place-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Folder(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(&self.0).expect("a folder");
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn draft(place: Place) -> Draft {
        match place {
            Place::File(draft) => draft,
            Place::Out => panic!("it is a file"),
        }
    }

    /// Both ways to write a file, with and without a name.
    fn check(name: &str, test: impl Fn(&Folder, &dyn Fn(&Path) -> Result<Draft>)) {
        test(&Folder::new(&format!("{name}-nameless")), &|path| of(Some(path), "r.tar.gz", false).map(draft));
        test(&Folder::new(&format!("{name}-beside")), &|path| Draft::beside(path.to_owned()));
    }

    #[test]
    fn a_file_comes_to_be_whole_and_for_its_owner_alone() {
        check("whole", |folder, at| {
            let path = folder.0.join("a");
            let made = at(&path).expect("a place").fill(|out| out.write_all(b"whole")).expect("written");
            assert_eq!(
                (made.as_path(), std::fs::read(&path).expect("a file")),
                (path.as_path(), b"whole".to_vec())
            );
            assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
            assert_eq!(folder.names(), ["a"]);
        });
    }

    #[test]
    fn what_is_there_is_never_replaced() {
        check("kept", |folder, at| {
            let path = folder.0.join("a");
            let early = at(&path).expect("a place");
            std::fs::write(&path, "theirs").expect("a file");
            let error = early.fill(|out| out.write_all(b"ours")).expect_err("it came meanwhile");
            assert!(error.to_string().contains("is there already"), "{error}");
            assert_eq!(std::fs::read(&path).expect("a file"), b"theirs");
            assert_eq!(folder.names(), ["a"]);
        });
        let folder = Folder::new("there");
        std::os::unix::fs::symlink("/nowhere", folder.0.join("link")).expect("a link");
        let error = of(Some(&folder.0.join("link")), "r", false).expect_err("a link is something");
        assert!(error.to_string().contains("name another file with --to"), "{error}");
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        check("none", |folder, at| {
            let stopped = |out: &mut dyn Write| {
                out.write_all(b"half")?;
                Err(io::Error::other("stopped"))
            };
            let error = at(&folder.0.join("a")).expect("a place").fill(stopped).expect_err("it was stopped");
            assert!(format!("{error:#}").ends_with("/a: stopped"), "{error:#}");
            drop(at(&folder.0.join("b")).expect("a place"));
            assert_eq!(folder.names(), [""; 0]);
        });
    }

    #[test]
    fn a_directory_gets_a_file_and_a_terminal_none() {
        let folder = Folder::new("folder");
        let made =
            draft(of(Some(&folder.0), "r.tar.gz", true).expect("a place")).fill(|_| Ok(())).expect("written");
        assert_eq!(made, folder.0.join("r.tar.gz"));
        let wrong = |path: &str| of(Some(Path::new(path)), "r", true).expect_err("no place").to_string();
        assert!(wrong("-").contains("terminal"));
        assert!(wrong("/nowhere/").starts_with("there is no directory /nowhere/"));
        assert!(
            wrong("/nowhere/r.tar.gz").starts_with("cannot make /nowhere/r.tar.gz: No such file"),
            "{}",
            wrong("/nowhere/r")
        );
        assert!(matches!(of(Some(Path::new("-")), "r", false), Ok(Place::Out)));
    }
}
