//! The Container Network Interface as a plugin sees it: a verb, a request, a result or an error.
//!
//! It follows the specification's text, `pkg/skel`'s order of checks, and what real runtimes were seen to send.
//! It reads no environment and no stream, and never interprets what it only passes through (M7).

pub mod entry;
pub mod previous;
pub mod reply;
pub mod request;
pub mod version;

pub use entry::Entry;
pub use previous::Previous;
pub use request::{Attachment, Environment, PodName, Request};
pub use version::Version;

use std::fmt;

/// What the runtime wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Join a container to the network.
    Add,
    /// Undo an ADD; never fails here (M8).
    Del,
    /// Is what ADD made still there?
    Check,
    /// Drop what belongs to no listed attachment.
    Gc,
    /// Could an ADD be served now?
    Status,
    /// Which versions are spoken?
    Version,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 6] = [Verb::Add, Verb::Del, Verb::Check, Verb::Gc, Verb::Status, Verb::Version];

    /// Its value of `CNI_COMMAND`.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Gc => "GC",
            Verb::Status => "STATUS",
            Verb::Version => "VERSION",
        }
    }

    /// The verb of that name: upper case, exactly.
    pub fn from_name(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// Whether it concerns one container, so that its id and interface must be given.
    pub fn has_container(self) -> bool {
        matches!(self, Verb::Add | Verb::Del | Verb::Check)
    }
}

/// Every code we answer with, and its one meaning. Up to 99 they are the specification's, except 8 and 999, which are
/// `pkg/skel`'s; from 100 they are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Code {
    /// The list's version is not spoken, or the verb does not exist in it.
    Version = 1,
    /// A field of the configuration is one the operator must mend.
    Field = 2,
    /// A variable of the environment is missing or malformed.
    Environment = 4,
    /// Standard input or a file could not be read.
    Io = 5,
    /// Standard input is not the JSON it should be.
    Decode = 6,
    /// The network configuration is not one.
    Config = 7,
    /// `CNI_NETNS` is the runtime's own namespace.
    OwnNamespace = 8,
    /// The node agent cannot be asked now; a later try may succeed.
    TryAgain = 11,
    /// STATUS: an ADD could not be served now.
    NotAvailable = 50,
    /// The kernel or a tool refused the rules; nothing was applied.
    Refused = 100,
    /// CHECK: live rules are not the recorded ones.
    Drift = 101,
    /// The node agent, or the pod's stamp, gave an answer that cannot be used.
    Answer = 102,
    /// A defect of ours.
    Internal = 999,
}

/// An error as a runtime shows it: `message; details`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Its code.
    pub code: Code,
    /// What failed, on what.
    pub message: String,
    /// Why, and the way out; may be empty.
    pub details: String,
    /// The list's version, once it is known.
    pub version: Option<Version>,
}

impl Error {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), details: String::new(), version: None }
    }

    /// The same with the cause and the way out.
    #[must_use]
    pub fn because(self, details: impl Into<String>) -> Self {
        Error { details: details.into(), ..self }
    }

    /// The same, told in the version of the caller's list.
    #[must_use]
    pub fn told_in(self, version: Version) -> Self {
        Error { version: Some(version), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, "; {}", self.details) }
    }
}

impl std::error::Error for Error {}
