//! The texts of a node's plugin lists as they are at one moment, kept to tell later who changed them.
//!
//! It reads and never writes; a folder that is too large is not read at all, for a picture cut short would accuse the wrong one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Entries in one folder: a node has a handful.
const ENTRIES: usize = 1000;
/// Bytes of one list: the longest known is 4 KiB.
const LONGEST: u64 = 1 << 20;

/// What lies in the folders of lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The text of each list, by its path.
    pub(crate) lists: BTreeMap<PathBuf, String>,
    /// The paths of whatever else is there: kubeconfigs, other meshes' folders, lists that were renamed out of the way.
    pub(crate) others: BTreeSet<PathBuf>,
}

/// Reads `folders`; one that is not there holds nothing.
pub(crate) fn read(folders: &[PathBuf]) -> io::Result<Seen> {
    let mut seen = Seen::default();
    for folder in folders {
        let entries = match fs::read_dir(folder) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        for (count, entry) in entries.enumerate() {
            if count == ENTRIES {
                return Err(over(folder, "more than 1000 entries"));
            }
            let path = entry?.path();
            match text(&path)? {
                Some(text) => drop(seen.lists.insert(path, text)),
                None => drop(seen.others.insert(path)),
            }
        }
    }
    Ok(seen)
}

/// The text of a list; none of anything else, and of what has gone meanwhile.
fn text(path: &Path) -> io::Result<Option<String>> {
    let list =
        path.extension().is_some_and(|kind| ["conf", "conflist", "json"].iter().any(|known| kind == *known));
    // Asked before it is opened: opening a pipe would wait for its writer.
    if !list || !fs::metadata(path).is_ok_and(|facts| facts.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if bytes.len() as u64 > LONGEST {
        return Err(over(path, "more than 1 MiB"));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn over(path: &Path, what: &str) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, format!("{} has {what}", path.display()))
}
