//! Where this node's runtime reads its lists and searches its plugins: its own configuration, read first.
//!
//! Each answer says where it came from. Configuration that cannot be read is told and passed over: the platform's places
//! are used then. Nothing is written, and no runtime is asked.

mod containerd;
mod crio;

use super::platform::{self, Platform, Profile, Runtime, below};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a runtime's configuration says of CNI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    conf_dir: Option<String>,
    bin_dirs: Option<Vec<String>>,
}

/// The places of this node, as this process sees them, each with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// The platform, and what told so.
    pub(crate) platform: (Platform, String),
    /// The directory of the lists.
    pub(crate) conf_dir: (PathBuf, Source),
    /// The directories of the plugins.
    pub(crate) bin_dirs: (Vec<PathBuf>, Source),
    /// What could not be read.
    pub(crate) notes: Vec<String>,
}

/// Who named a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag, or our own configuration.
    Flag,
    /// The runtime's configuration: this file, or its default beside it.
    Runtime(PathBuf),
    /// What is known of the platform.
    Profile,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("as told"),
            Source::Runtime(path) => write!(f, "as {} says", path.display()),
            Source::Profile => f.write_str("as usual on this platform"),
        }
    }
}

/// What was said of places; the rest is found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The platform.
    pub(crate) platform: Option<Platform>,
    /// The directory of the lists.
    pub(crate) conf_dir: Option<PathBuf>,
    /// The directories of the plugins.
    pub(crate) bin_dirs: Vec<PathBuf>,
}

/// The most a file of a runtime's configuration may hold.
const LONGEST: u64 = 1 << 20;

/// Finds the places of the node below `host_root`.
pub(crate) fn find(host_root: &Path, told: &Told) -> Places {
    let platform = match told.platform {
        Some(platform) => (platform, "as told".to_owned()),
        None => platform::detect(host_root),
    };
    let profile = platform::profile(platform.0);
    let mut notes = Vec::new();
    let configured = configured(host_root, &profile, &mut notes).filter(|_| !profile.through_multus);
    let source = |path: &Path| Source::Runtime(path.to_owned());
    let conf_dir = match (&told.conf_dir, &configured) {
        (Some(folder), _) => (folder.clone(), Source::Flag),
        (None, Some((path, Said { conf_dir: Some(folder), .. }))) => (below(host_root, folder), source(path)),
        _ => (below(host_root, profile.conf_dir), Source::Profile),
    };
    let bin_dirs = match (&told.bin_dirs[..], &configured) {
        ([], Some((path, Said { bin_dirs: Some(folders), .. }))) => {
            (folders.iter().map(|folder| below(host_root, folder)).collect(), source(path))
        }
        ([], _) => (vec![below(host_root, profile.bin_dir)], Source::Profile),
        (folders, _) => (folders.to_vec(), Source::Flag),
    };
    Places { platform, conf_dir, bin_dirs, notes }
}

/// What the runtime's configuration says: of the one that runs, else of the first that is configured.
fn configured(host_root: &Path, profile: &Profile, notes: &mut Vec<String>) -> Option<(PathBuf, Said)> {
    let mut runtimes = profile.runtimes.to_vec();
    runtimes.sort_by_key(|(_, _, socket)| !below(host_root, socket).exists());
    for (runtime, config, _) in runtimes {
        let said = match runtime {
            Runtime::Containerd => containerd::read(host_root, config, notes),
            Runtime::Crio => crio::read(host_root, config, notes),
        };
        if let Some(said) = said {
            return Some((PathBuf::from(config), said));
        }
    }
    None
}

/// A TOML file; nothing, with a note, if it cannot be used, and nothing without one if it is not there.
fn toml(path: &Path, notes: &mut Vec<String>) -> Option<toml::Table> {
    let text = match text(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return None,
        Err(cause) => Err(cause.to_string()),
        Ok(text) => text.parse().map_err(|error: toml::de::Error| error.message().to_owned()),
    };
    text.map_err(|why| notes.push(format!("{} was passed over: {why}", path.display()))).ok()
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LONGEST {
        return Err(io::Error::other(format!("it holds more than {LONGEST} bytes")));
    }
    Ok(text)
}

/// The string or strings under `key`; an empty one says nothing.
fn strings(table: &toml::Table, key: &str) -> Option<Vec<String>> {
    let all: Vec<String> = match table.get(key)? {
        toml::Value::String(one) => vec![one.clone()],
        toml::Value::Array(many) => many.iter().filter_map(|one| one.as_str()).map(str::to_owned).collect(),
        _ => return None,
    };
    let all: Vec<String> = all.into_iter().filter(|one| !one.is_empty()).collect();
    (!all.is_empty()).then_some(all)
}

/// The files of a folder whose names match a pattern with at most one `*`, in order.
fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let (head, tail) = pattern.split_once('*').unwrap_or((pattern, ""));
    let star = pattern.contains('*');
    let names = super::install::seen::names(folder).unwrap_or_default();
    let mut found: Vec<PathBuf> = names
        .into_iter()
        .filter(|name| match star {
            true => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
            false => name == head,
        })
        .map(|name| folder.join(name))
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests;
