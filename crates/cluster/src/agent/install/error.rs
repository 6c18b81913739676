//! Why a node could not be brought to what is wanted: the act, the object, the cause, the way out.

use super::Refusal;
use millrace_host::files;
use std::fmt;
use std::path::PathBuf;

/// Why it could not be done.
#[derive(Debug)]
pub(crate) enum Error {
    /// It would do harm; the lists were left alone.
    Refused(Refusal),
    /// A file could not be read or put in place.
    File(files::Error),
    /// None of the directories for plugins is there.
    NoBinDir(Vec<PathBuf>),
    /// The plugin was put beside its place and does not run there.
    DoesNotRun { path: PathBuf, why: String },
    /// The plugin was put beside its place and is not one for the node's list.
    DoesNotSpeak { folder: PathBuf, version: String },
    /// Somebody writes the list as often as we do.
    Contested { folder: PathBuf, tries: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(refusal) => refusal.fmt(f),
            Error::File(error) => error.fmt(f),
            Error::NoBinDir(folders) => {
                let folders: Vec<String> =
                    folders.iter().map(|folder| folder.display().to_string()).collect();
                write!(
                    f,
                    "cannot install the plugin: none of the runtime's directories for plugins is there ({}); \
                     mount the node's, or name it with --bin-dir",
                    folders.join(", ")
                )
            }
            Error::DoesNotRun { path, why } => write!(
                f,
                "cannot install the plugin: it does not run in {}: {why}; the directory must not be mounted noexec, and \
                 the image must be of this machine's architecture; the lists were left alone",
                path.display()
            ),
            Error::DoesNotSpeak { folder, version } => write!(
                f,
                "cannot install the plugin in {}: it does not speak CNI {version}, which the node's list is or may be used \
                 as; offer a release that does; the plugin that is there and the lists were left alone",
                folder.display()
            ),
            Error::Contested { folder, tries } => write!(
                f,
                "cannot publish our entry in {}: each of {tries} times somebody else wrote the list meanwhile; find who \
                 rewrites it",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<files::Error> for Error {
    fn from(error: files::Error) -> Error {
        Error::File(error)
    }
}
