//! The cases under `golden/rules`: each a directory with the file `settings`, in the spelling of the settings' table.

#![allow(dead_code, reason = "each test file uses a part of it")]

use millrace_core::knobs;
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Plan, RuleSet};
use millrace_core::settings::{Families, Settings};
use std::path::{Path, PathBuf};

/// One case.
pub(crate) struct Case {
    /// The directory's name.
    pub(crate) name: String,
    /// The directory.
    pub(crate) folder: PathBuf,
    /// The settings, read without a complaint.
    pub(crate) settings: Settings,
}

impl Case {
    /// The plan for both families.
    pub(crate) fn plan(&self) -> Plan {
        plan(&self.settings, Families::Both)
    }

    /// The rules of that plan.
    pub(crate) fn rules(&self) -> RuleSet {
        self.plan().rules
    }
}

/// All cases, by name.
pub(crate) fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rules");
    let folders = std::fs::read_dir(&root).expect("the cases are there");
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.expect("a readable folder").path()).collect();
    folders.sort();
    assert!(folders.len() > 20, "cases are missing: {folders:?}");
    folders.into_iter().map(case).collect()
}

fn case(folder: PathBuf) -> Case {
    let text = std::fs::read_to_string(folder.join("settings")).expect("every case has settings");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let items =
        lines.map(|line| line.split_once('=').map(|(key, value)| (key.trim(), value.trim())).expect(line));
    // A case says what it changes of the default pod; what `read` takes for granted differs in the ports appended to pods' exclusions.
    let defaults = knobs::write(&Settings::default());
    let (settings, complaints) =
        knobs::read(defaults.iter().map(|(key, value)| (*key, value.as_str())).chain(items));
    assert_eq!(complaints, [], "{}", folder.display());
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    Case { name, folder, settings }
}
