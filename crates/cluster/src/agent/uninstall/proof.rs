//! The proof of an uninstallation: what was done, what failed, and what was found where when all was looked at again.

use super::attachments::Attachments;
use super::{Leaving, tombstone};
use crate::agent::install::{memory, plugin_in, seen};
use crate::api::cleared::LastWords;
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

    /// The same in few words.
    pub(super) fn last_words(&self, node: &str) -> LastWords {
        let left = self.findings.iter().filter(|finding| !finding.clean);
        let left = left.map(|finding| format!("{}: {}", finding.place, finding.found));
        let wrong: Vec<String> = self.failures.iter().cloned().chain(left).collect();
        LastWords::new(node, self.is_clean(), self.findings.len(), &wrong)
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
    let folder = &leaving.conf_dir;
    if folder.as_os_str().is_empty() {
        let unknown = "which directory it is was not found; name it with --conf-dir";
        return proof.find(Path::new("the directory of lists"), unknown, false);
    }
    // None is no fault (M8), and yet a mistaken name must not read as a look at the node's lists.
    if matches!(folder.try_exists(), Ok(false)) {
        let absent =
            "there is no such directory, so no list; if the runtime's is another, name it with --conf-dir";
        return proof.find(folder, absent, true);
    }
    match seen::lists(folder) {
        Err(error) => proof.find(folder, error.to_string(), false),
        Ok((lists, _)) => {
            let before = proof.findings.len();
            for list in &lists {
                let path = folder.join(&list.name);
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
                let found = match lists.len() {
                    0 => "no lists there".to_owned(),
                    1 => "1 list, which does not name the plugin".to_owned(),
                    count => format!("{count} lists, none names the plugin"),
                };
                proof.find(folder, found, true);
            }
        }
    }
}

fn staged(folder: &Path, proof: &mut Proof) {
    for path in files::staged_in(folder).unwrap_or_default() {
        proof.find(&path, "left by an installer that was killed", false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn check(conf_dir: &Path, expected: &str) {
        let leaving = Leaving { conf_dir: conf_dir.to_owned(), ..Leaving::default() };
        let mut proof = Proof::default();
        lists(&leaving, &mut proof);
        let [Finding { place, found, clean }] = &proof.findings[..] else { panic!("{proof}") };
        assert_eq!(format!("{clean} {found}"), expected, "{place}");
        assert!(!place.is_empty());
    }

    #[test]
    fn what_was_looked_at_is_said_as_it_was() {
        let folder = std::env::temp_dir().join(format!("millrace-proof-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        check(Path::new(""), "false which directory it is was not found; name it with --conf-dir");
        check(
            &folder,
            "true there is no such directory, so no list; if the runtime's is another, name it with --conf-dir",
        );
        fs::create_dir(&folder).unwrap();
        check(&folder, "true no lists there");
        let list = |name: &str, plugin: &str| {
            let text = format!(r#"{{"name":"n","cniVersion":"1.0.0","plugins":[{{"type":"{plugin}"}}]}}"#);
            fs::write(folder.join(name), text).unwrap();
        };
        list("10-a.conflist", "bridge");
        check(&folder, "true 1 list, which does not name the plugin");
        list("20-b.conflist", "ptp");
        check(&folder, "true 2 lists, none names the plugin");
        list("20-b.conflist", TYPE);
        check(&folder, "false names the plugin");
        fs::remove_dir_all(&folder).unwrap();
    }
}
