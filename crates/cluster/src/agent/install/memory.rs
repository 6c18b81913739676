//! What an installer remembers on disk: who installed last, and the bytes of a list before our first edit.
//!
//! It lies below the agent's data directory, readable by root alone, and is written before the list is: after a crash it
//! tells at most of an edit that was not made, never of less than was. Losing it costs the old bytes, not the way back.

use super::{Error, seen};
use millrace_host::files::{self, Hook, Like};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Who installs. The higher generation is the later installer's: an earlier one leaves alone what it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Its name: a pod's, or a person's at this machine.
    pub(crate) installer: String,
    /// Its place in the order of all installers of this node.
    pub(crate) generation: u64,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Memory {
    /// Who installed last.
    pub(crate) last: Claim,
    /// The generation of each installer that ever asked for one.
    pub(crate) tickets: BTreeMap<String, u64>,
    /// The lists we edited in place, by name.
    pub(crate) edited: BTreeMap<String, Edited>,
    /// The swap that was begun last and is not known to have ended.
    pub(crate) swap: Option<Swap>,
    /// The directory of an auxiliary chain that we put a file into.
    pub(crate) auxiliary: Option<String>,
    /// Whether we made that directory.
    pub(crate) made_auxiliary: bool,
}

/// An owner's list swapped for ours. If the process ends in between, what came out lies staged beside the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swap {
    /// The list's name.
    pub(crate) list: String,
    /// The digest of what was read there.
    pub(crate) from: String,
    /// The digest of what comes in its place.
    pub(crate) to: String,
}

/// A list we edited in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edited {
    /// The digest of what we wrote.
    pub(crate) wrote: String,
    /// What it held before we did.
    pub(crate) original: String,
}

/// The most installers remembered; beyond, those of the lowest generations are forgotten.
const MOST_TICKETS: usize = 64;
/// The most the file may hold: the originals of a few lists.
const LONGEST: u64 = 16 << 20;
/// The keys of a claim in our entry.
const KEYS: [&str; 2] = ["installer", "generation"];

impl Memory {
    /// What is remembered below `data_dir`. A file that cannot be understood is as none: it holds nothing that is needed.
    pub(crate) fn load(data_dir: &Path) -> Result<Memory, Error> {
        let path = file(data_dir);
        let bytes = seen::read(&path, LONGEST).map_err(|cause| files::Error::new("read", &path, cause))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Keeps it, if it is not what is kept.
    pub(crate) fn keep(&self, data_dir: &Path, hook: &mut Hook<'_>) -> Result<(), Error> {
        let path = file(data_dir);
        if path.is_file() && Memory::load(data_dir)? == *self {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(data_dir);
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        created.map_err(|cause| files::Error::new("create", folder, cause))?;
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let staged = files::stage(folder, &mut text.as_bytes(), &Like::new(0o600), hook)?;
        Ok(staged.put(&path, hook)?)
    }

    /// The claim of `installer`: its own if it has one, else one above all that were ever seen here, those in `entries`
    /// included.
    pub(crate) fn claim(&mut self, installer: &str, entries: &[Claim]) -> Claim {
        let all: Vec<&Claim> = entries.iter().chain([&self.last]).collect();
        let own = all.iter().filter(|claim| claim.installer == installer).map(|claim| claim.generation).max();
        let highest = all.iter().map(|claim| claim.generation).chain(self.tickets.values().copied()).max();
        let known = self.tickets.get(installer).copied().max(own.filter(|generation| *generation > 0));
        let generation = known.unwrap_or_else(|| highest.unwrap_or(0).saturating_add(1));
        self.tickets.insert(installer.to_owned(), generation);
        while self.tickets.len() > MOST_TICKETS {
            let Some(oldest) = self.tickets.iter().min_by_key(|(_, generation)| **generation) else { break };
            let oldest = oldest.0.clone();
            self.tickets.remove(&oldest);
        }
        Claim { installer: installer.to_owned(), generation }
    }

    /// Remembers that `list`, which holds `now`, will be edited to hold `text`.
    pub(crate) fn edit(&mut self, list: &str, now: &str, text: &str, has_ours: bool) {
        let wrote = seen::digest(text.as_bytes());
        let original = match self.edited.remove(list) {
            // Still what we wrote: the bytes before that are the ones to go back to.
            Some(edited) if edited.wrote == seen::digest(now.as_bytes()) => Some(edited.original),
            // A crash came between remembering and writing.
            Some(edited) if edited.original == now => Some(edited.original),
            // Somebody wrote, and kept or copied our entry: no bytes are known that were his alone.
            _ if has_ours => None,
            _ => Some(now.to_owned()),
        };
        if let Some(original) = original {
            self.edited.insert(list.to_owned(), Edited { wrote, original });
        }
    }

    /// The bytes of `list` before our first edit, if nobody else wrote since.
    pub(crate) fn original(&self, list: &str, now: &str) -> Option<&str> {
        let edited = self.edited.get(list)?;
        (edited.wrote == seen::digest(now.as_bytes())).then_some(edited.original.as_str())
    }
}

impl Claim {
    /// The claim in an entry of ours.
    pub(crate) fn of(entry: &Map<String, Value>) -> Claim {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        Claim { installer: text(KEYS[0]).to_owned(), generation: text(KEYS[1]).parse().unwrap_or(0) }
    }

    /// Puts it into an entry. As text: libcni rounds large numbers.
    pub(crate) fn put_into(&self, entry: &mut Map<String, Value>) {
        entry.insert(KEYS[0].to_owned(), self.installer.as_str().into());
        entry.insert(KEYS[1].to_owned(), self.generation.to_string().into());
    }

    /// An entry without its claim: what it means for pods.
    pub(crate) fn stripped(entry: &Map<String, Value>) -> Map<String, Value> {
        let mut entry = entry.clone();
        entry.retain(|key, _| !KEYS.contains(&key.as_str()));
        entry
    }
}

/// Where it is kept.
pub(crate) fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("install").join("memory.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_installer_has_one_place_in_the_order() {
        let mut memory = Memory::default();
        assert_eq!(memory.claim("old", &[]).generation, 1);
        assert_eq!(memory.claim("new", &[]).generation, 2);
        assert_eq!(
            memory.claim("old", &[]).generation,
            1,
            "a container that starts again is no later installer"
        );
        let entry = Claim { installer: "other".into(), generation: 7 };
        assert_eq!(memory.claim("third", std::slice::from_ref(&entry)).generation, 8);
        assert_eq!(
            Memory::default().claim("other", &[entry]).generation,
            7,
            "the entry tells when the disk is new"
        );
        for number in 0..100 {
            memory.claim(&format!("i{number}"), &[]);
        }
        assert_eq!(memory.tickets.len(), MOST_TICKETS);
    }

    #[test]
    fn the_original_is_known_while_nobody_else_writes() {
        let mut memory = Memory::default();
        memory.edit("l", "a", "a+ours", false);
        assert_eq!(memory.original("l", "a+ours"), Some("a"));
        assert_eq!(memory.original("l", "else"), None);
        memory.edit("l", "a", "a+ours1", false);
        assert_eq!(memory.original("l", "a+ours1"), Some("a"), "after a crash before the write");
        memory.edit("l", "a+ours1", "a+ours2", true);
        assert_eq!(memory.original("l", "a+ours2"), Some("a"));
        memory.edit("l", "b", "b+ours", false);
        assert_eq!(memory.original("l", "b+ours"), Some("b"));
        memory.edit("l", "b+ours, touched", "c", true);
        assert_eq!(memory.original("l", "c"), None);
    }

    #[test]
    fn a_claim_in_an_entry_is_read_again() {
        let claim = Claim { installer: "x".into(), generation: u64::MAX };
        let mut entry = Map::new();
        claim.put_into(&mut entry);
        assert_eq!(Claim::of(&entry), claim);
        assert!(Claim::stripped(&entry).is_empty());
        assert_eq!(Claim::of(&Map::new()), Claim::default());
    }
}
