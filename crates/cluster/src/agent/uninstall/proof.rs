//! The proof of an uninstallation: what was done, what failed, and what was found where when all was looked at again.

use super::attachments::Attachments;
use super::{Leaving, tombstone};
use crate::agent::install::{memory, plugin_in, seen};
use millrace_core::cni::entry::TYPE;
use millrace_core::conflist;
use millrace_host::files;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What was done and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    /// What was done, in order.
    pub(crate) acts: Vec<String>,
    /// What could not be done.
    pub(crate) failures: Vec<String>,
    /// What was found where afterwards.
    pub(crate) findings: Vec<Finding>,
}

/// What was found at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The place.
    pub(crate) place: String,
    /// What is there.
    pub(crate) found: String,
    /// Whether that is as it should be.
    pub(crate) clean: bool,
}

impl Proof {
    /// Whether nothing of ours is left that does anything.
    pub(crate) fn is_clean(&self) -> bool {
        self.failures.is_empty()
            && !self.findings.is_empty()
            && self.findings.iter().all(|finding| finding.clean)
    }

    fn find(&mut self, place: &Path, found: impl Into<String>, clean: bool) {
        self.findings.push(Finding { place: place.display().to_string(), found: found.into(), clean });
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for act in &self.acts {
            writeln!(f, "done: {act}")?;
        }
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        for finding in &self.findings {
            let word = if finding.clean { "clean" } else { "not clean" };
            writeln!(f, "{word}: {}: {}", finding.place, finding.found)?;
        }
        writeln!(f, "{}", if self.is_clean() { "this node is clean" } else { "this node is not clean" })
    }
}

/// Looks at every place again.
pub(super) fn examine(leaving: &Leaving, attachments: &Attachments, proof: &mut Proof) {
    lists(leaving, proof);
    for (folder, count) in &attachments.looked {
        let naming = attachments.named_by.iter().filter(|path| path.parent() == Some(folder)).count();
        proof.find(folder, format!("{naming} of {count} attachments name the plugin"), true);
    }
    proof.find(
        &leaving.state_dir.join("attachments"),
        format!("{} records of pods that live", attachments.alive),
        true,
    );
    for unknown in &attachments.unknown {
        proof.acts.push(format!("taken for an attachment that names the plugin: {unknown}"));
    }
    for folder in &leaving.bin_dirs {
        let path = plugin_in(folder);
        if !path.exists() {
            proof.find(&path, "not there", !attachments.names_us() || !folder.is_dir() || leaving.purge);
        } else if tombstone::is_one(&path) {
            proof.find(&path, "passes everything through; run this again when no attachment names it", true);
        } else {
            proof.find(&path, "still the plugin", false);
        }
        staged(folder, proof);
    }
    staged(&leaving.conf_dir, proof);
    let kept = memory::file(&leaving.data_dir);
    let there = kept.exists();
    proof.find(&kept, if there { "still there" } else { "not there" }, !there);
}

fn lists(leaving: &Leaving, proof: &mut Proof) {
    match seen::lists(&leaving.conf_dir) {
        Err(error) => proof.find(&leaving.conf_dir, error.to_string(), false),
        Ok((lists, _)) => {
            let before = proof.findings.len();
            for list in &lists {
                let path = leaving.conf_dir.join(&list.name);
                match &list.text {
                    Err(why) => proof.find(&path, format!("cannot be read: {why}"), false),
                    Ok(text) if conflist::has_ours(text) == Ok(true) => {
                        proof.find(&path, "names the plugin", false)
                    }
                    // Not a list that can be read, but the name is in it: somebody must look.
                    Ok(text) if conflist::has_ours(text).is_err() && text.contains(TYPE) => {
                        proof.find(&path, "names the plugin in what is no list we can edit", false);
                    }
                    Ok(_) => {}
                }
            }
            if proof.findings.len() == before {
                proof.find(&leaving.conf_dir, format!("{} lists, none names the plugin", lists.len()), true);
            }
        }
    }
}

fn staged(folder: &Path, proof: &mut Proof) {
    for path in files::staged_in(folder).unwrap_or_default() {
        proof.find(&path, "left by an installer that was killed", false);
    }
}
