//! The attachment records of this node: one small file each, in a directory of a tmpfs that only root may read.
//!
//! A record is whole or counts as absent. A first one is written at once under its name, in one piece: killed before
//! that, its writer leaves an empty file, which is none. One that takes another's place comes by a temporary file
//! and a rename. There is no fsync: after a power cut neither the pods nor the tmpfs are there. A record found under a
//! name that is another attachment's is never used or removed.

use millrace_core::record::{self, Key, Record};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where records are.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

/// Why a record could not be kept, found or dropped.
#[derive(Debug)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Error {
    /// A file could not be used.
    Io { act: &'static str, path: PathBuf, cause: io::Error },
    /// A file does not hold a record we can read.
    Unreadable { path: PathBuf, cause: record::Error },
    /// A file holds the record of another attachment.
    Collides { path: PathBuf, other: Key },
    /// There are more files than a node can have attachments.
    TooMany { folder: PathBuf },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { act, path, cause } => write!(f, "cannot {act} {}: {cause}", path.display()),
            Error::Unreadable { path, cause } => write!(f, "{}: {cause}", path.display()),
            Error::Collides { path, other } => write!(
                f,
                "{} is the record of {} of container {} in network {}; left alone",
                path.display(),
                other.interface,
                other.container,
                other.network
            ),
            Error::TooMany { folder } => {
                write!(
                    f,
                    "{} holds more than {MOST} files; remove those of containers that are gone",
                    folder.display()
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// The most records looked at: a node has some hundreds.
const MOST: usize = 65_536;

impl Records {
    /// The records below a state directory.
    pub fn below(state_dir: &Path) -> Records {
        Records { folder: state_dir.join("attachments") }
    }

    /// Keeps a record, in place of an older one of the same attachment.
    pub fn keep(&self, record: &Record) -> Result<(), Error> {
        let name = record.key.file_name();
        let path = self.folder.join(&name);
        if name.starts_with('~') {
            // Only a hashed name can be another attachment's.
            self.find(&record.key)?;
        }
        let text = record.write();
        let first = self.create(&path).and_then(|mut file| file.write_all(&text));
        match first {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => self.replace(&path, &name, &text),
            Err(cause) => {
                // Half a record is worse than none.
                let _ = fs::remove_file(&path);
                Err(failed("write", &path, cause))
            }
            Ok(()) => Ok(()),
        }
    }

    fn replace(&self, path: &Path, name: &str, text: &[u8]) -> Result<(), Error> {
        // The runtime calls for one container at a time, so our pid makes the name unique among the living; one that
        // a dead process of that pid left is in the way.
        let temporary = self.folder.join(format!(".{name}.{}", std::process::id()));
        let _ = fs::remove_file(&temporary);
        let written = self.create(&temporary).and_then(|mut file| file.write_all(text));
        written.map_err(|cause| failed("write", &temporary, cause))?;
        fs::rename(&temporary, path).map_err(|cause| failed("put in place", path, cause))
    }

    /// The record of an attachment, if there is one.
    pub fn find(&self, key: &Key) -> Result<Option<Record>, Error> {
        let path = self.folder.join(key.file_name());
        match read(&path) {
            Ok(Some(record)) if record.key != *key => Err(Error::Collides { path, other: record.key }),
            found => found,
        }
    }

    /// Drops the record of an attachment, if there is one, readable or not.
    pub fn drop(&self, key: &Key) -> Result<(), Error> {
        let name = key.file_name();
        if name.starts_with('~')
            && let Err(error @ Error::Collides { .. }) = self.find(key)
        {
            return Err(error);
        }
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(cause) if !is_absent(&cause) => Err(failed("remove", &path, cause)),
            _ => Ok(()),
        }
    }

    /// All records, and why some could not be read. Temporary files whose writer is gone are removed on the way.
    pub fn all(&self) -> Result<(Vec<Record>, Vec<Error>), Error> {
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(cause) if is_absent(&cause) => return Ok((found, errors)),
            Err(cause) => return Err(failed("list", &self.folder, cause)),
        };
        for (count, entry) in entries.enumerate() {
            let entry = entry.map_err(|cause| failed("list", &self.folder, cause))?;
            if count >= MOST {
                return Err(Error::TooMany { folder: self.folder.clone() });
            }
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') {
                remove_if_abandoned(&entry.path());
                continue;
            }
            match read(&entry.path()) {
                Ok(record) => found.extend(record),
                Err(error) => errors.push(error),
            }
        }
        Ok((found, errors))
    }

    /// Creates a file that is not there, and the folder when that is what is missing.
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        match options.open(path) {
            Err(cause) if is_absent(&cause) => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
                options.open(path)
            }
            other => other,
        }
    }
}

/// The record in a file; `None` if there is no file, or an empty one.
fn read(path: &Path) -> Result<Option<Record>, Error> {
    let mut bytes = Vec::new();
    let file = match File::open(path) {
        Err(cause) if is_absent(&cause) => return Ok(None),
        opened => opened.map_err(|cause| failed("read", path, cause))?,
    };
    let most = record::LONGEST as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(|cause| failed("read", path, cause))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Record::read(&bytes).map(Some).map_err(|cause| Error::Unreadable { path: path.to_owned(), cause })
}

/// `.NAME.PID` was left by a writer that was killed between writing and renaming.
fn remove_if_abandoned(path: &Path) {
    let pid = path.extension().and_then(|pid| pid.to_str()).and_then(|pid| pid.parse::<u32>().ok());
    if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
        // Somebody else may have been quicker; then it is gone all the same.
        let _ = fs::remove_file(path);
    }
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn failed(act: &'static str, path: &Path, cause: io::Error) -> Error {
    Error::Io { act, path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::dialect::Backend;
    use millrace_core::settings::Families;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("millrace-records-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn record(network: &str, interface: &str) -> Record {
        Record {
            key: Key { network: network.into(), container: "c1".into(), interface: interface.into() },
            netns: "/var/run/netns/x".into(),
            namespace: "default".into(),
            name: "reviews".into(),
            uid: None,
            stamp: "{}".into(),
            families: Families::V4,
            backend: Backend::Iptables,
            release: None,
        }
    }

    #[test]
    fn a_record_is_kept_found_and_dropped_and_dropped_again() {
        let folder = Folder::new("kept");
        let records = Records::below(&folder.0);
        let long = "n".repeat(255);
        for network in ["net", &long] {
            let one = record(network, "eth0");
            assert!(records.find(&one.key).unwrap().is_none());
            records.keep(&one).unwrap();
            records.keep(&one).unwrap();
            assert_eq!(records.find(&one.key).unwrap(), Some(one.clone()));
            assert!(records.find(&record(network, "net1").key).unwrap().is_none());
            records.drop(&one.key).unwrap();
            records.drop(&one.key).unwrap();
            assert!(records.find(&one.key).unwrap().is_none());
        }
        let mode = fs::metadata(folder.0.join("attachments")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn what_a_killed_writer_left_is_no_record_and_is_replaced() {
        let folder = Folder::new("killed");
        let records = Records::below(&folder.0);
        let one = record("net", "eth0");
        records.keep(&one).unwrap();
        let inside = folder.0.join("attachments");
        fs::write(inside.join(one.key.file_name()), "").unwrap();
        fs::write(inside.join(format!(".{}.{}", one.key.file_name(), std::process::id())), "{").unwrap();
        assert_eq!(records.find(&one.key).unwrap(), None);
        assert_eq!(records.all().unwrap().0, []);
        records.keep(&one).unwrap();
        assert_eq!(records.find(&one.key).unwrap(), Some(one));
    }

    #[test]
    fn a_collision_is_told_and_nothing_is_lost() {
        let folder = Folder::new("collides");
        let records = Records::below(&folder.0);
        let (one, other) = (record(&"n".repeat(255), "eth0"), record("net", "eth0"));
        records.keep(&one).unwrap();
        let path = folder.0.join("attachments").join(one.key.file_name());
        fs::write(&path, other.write()).unwrap();
        assert!(matches!(records.find(&one.key), Err(Error::Collides { .. })));
        assert!(matches!(records.keep(&one), Err(Error::Collides { .. })));
        assert!(matches!(records.drop(&one.key), Err(Error::Collides { .. })));
        assert!(path.exists());
    }

    #[test]
    fn all_goes_past_what_it_cannot_read_and_sweeps_what_was_abandoned() {
        let folder = Folder::new("all");
        let records = Records::below(&folder.0);
        assert_eq!(records.all().unwrap().0.len(), 0, "no folder yet");
        let one = record("net", "eth0");
        records.keep(&one).unwrap();
        let inside = folder.0.join("attachments");
        // A process that has ended and was waited for: its pid is free, and 2^22 is beyond any pid_max.
        let abandoned = inside.join(".net:c9:eth0.4194305");
        let alive = inside.join(format!(".net:c9:eth0.{}", std::process::id()));
        for path in [&abandoned, &alive, &inside.join("broken")] {
            fs::write(path, "{").unwrap();
        }
        let (found, errors) = records.all().unwrap();
        assert_eq!((found, errors.len()), (vec![one], 1));
        assert!(errors[0].to_string().contains("broken"), "{}", errors[0]);
        assert_eq!((abandoned.exists(), alive.exists()), (false, true));
        records.drop(&record("net", "eth0").key).unwrap();
    }
}
