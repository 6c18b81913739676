//! Our place on this node: the plugin in the directory the runtime searches, our entry in the list it uses.
//!
//! Looking, planning and acting are apart: [`look`] reads, [`plan()`] decides and touches nothing, [`converge`] does what was
//! planned, binary first, and nothing when all is right already. It never makes a list malformed, never changes a name, a
//! version or another's entry but istio-cni's, whose work it takes over, and never writes over what an owner wrote
//! meanwhile. Whoever calls [`converge`] holds the lock (`agent::lock`).

pub(crate) mod command;
mod diff;
mod error;
pub(crate) mod memory;
pub(crate) mod plan;
mod prove;
pub(crate) mod publish;
pub(crate) mod seen;

pub(crate) use error::Error;
pub(crate) use memory::{Claim, Memory};
pub(crate) use plan::{Refusal, plan};
pub(crate) use prove::versions;
pub(crate) use seen::{Seen, look};

use millrace_core::cni::Entry;
use millrace_host::files::Hook;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where, and what is wanted there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The directory of the lists the runtime uses.
    pub(crate) conf_dir: PathBuf,
    /// The directories the runtime searches for plugins, in its order; the first that is there gets ours.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// Where the agent keeps what must outlive a reboot: below it, `install/`.
    pub(crate) data_dir: PathBuf,
    /// What is wanted.
    pub(crate) wish: Wish,
}

/// What is wanted of this node.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The plugin to install.
    pub(crate) binary: PathBuf,
    /// What our entry says.
    pub(crate) entry: Entry,
    /// Which way into the chain; without one it is chosen by who owns the list.
    pub(crate) way: Option<Way>,
    /// The list, by name; without one it is the one the runtime uses.
    pub(crate) list: Option<String>,
    /// The directory of Multus's auxiliary chain inside the lists' directory, if there is to be one.
    pub(crate) auxiliary: Option<String>,
    /// Who installs.
    pub(crate) claim: Claim,
}

/// The ways into a node's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Our entry in the owner's list.
    InPlace,
    /// A list of our own that comes first and follows the owner's.
    Own,
    /// A file in Multus's auxiliary chain.
    Auxiliary,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Way; 3] = [Way::InPlace, Way::Own, Way::Auxiliary];

    /// Its name, as flags and reports say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::InPlace => "in-place",
            Way::Own => "own-list",
            Way::Auxiliary => "auxiliary",
        }
    }

    /// The way of that name.
    pub(crate) fn from_name(name: &str) -> Option<Way> {
        Way::ALL.into_iter().find(|way| way.name() == name)
    }
}

/// The mode of the plugin.
const PLUGIN_MODE: u32 = 0o755;
/// Our own list; it comes before every owner's that is known, and after Multus's.
pub(crate) const OWN_LIST: &str = "02-millrace.conflist";
/// Our file in an auxiliary chain.
pub(crate) const AUXILIARY_FILE: &str = "50-millrace.conf";

/// How a node stands after [`converge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Converged {
    /// What had to be done.
    pub(crate) change: Change,
    /// Where our entry is.
    pub(crate) place: Place,
    /// What that file holds, as a number: equal for equal bytes.
    pub(crate) digest: String,
    /// What somebody should know.
    pub(crate) notes: Vec<String>,
}

/// What had to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// The plugin was put there, or replaced.
    pub(crate) binary: bool,
    /// A list was written or withdrawn.
    pub(crate) list: bool,
}

/// Where our entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// By which way it came there.
    pub(crate) way: Way,
    /// The file that holds it, relative to the lists' directory.
    pub(crate) file: String,
    /// The list that the runtime would use without us.
    pub(crate) owner: String,
    /// Its position in the chain, from 1, and the chain's length.
    pub(crate) position: (usize, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (position, length) = self.position;
        write!(f, "{} ({}, plugin {position} of {length}", self.file, self.way.name())?;
        if self.owner == self.file { f.write_str(")") } else { write!(f, ", following {})", self.owner) }
    }
}

/// How often a list is tried again that somebody writes at the same time.
const TRIES: usize = 10;

/// Brings the node to what is wanted; changes nothing if it is so already.
pub(crate) fn converge(target: &Target) -> Result<Converged, Error> {
    converge_with(target, &mut |_| Ok(()))
}

/// As [`converge`]; `hook` is told before each step on a file.
pub(crate) fn converge_with(target: &Target, hook: &mut Hook<'_>) -> Result<Converged, Error> {
    let (mut change, mut notes) = (Change::default(), publish::sweep(target, hook)?);
    for _ in 0..TRIES {
        let seen = look(target)?;
        let mut plan = plan(&seen, &target.wish);
        if publish::carry_out(target, &seen, &plan, &mut change, hook)? == publish::Done::Overtaken {
            continue;
        }
        notes.append(&mut plan.notes);
        let place = plan.place.map_err(Error::Refused)?;
        let published = seen::digest_of(&target.conf_dir.join(&place.file))?;
        match published {
            Some(digest) if digest == plan.digest => return Ok(Converged { change, place, digest, notes }),
            // Written over or taken away since: the next look tells what is right now.
            _ => notes.clear(),
        }
    }
    Err(Error::Contested { folder: target.conf_dir.clone(), tries: TRIES })
}

/// The path of the plugin in `folder`.
pub(crate) fn plugin_in(folder: &Path) -> PathBuf {
    folder.join(millrace_core::cni::entry::TYPE)
}

#[cfg(test)]
pub(crate) mod tests;
