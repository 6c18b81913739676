//! The picker of namespaces: what was read and what is chosen in, rows out. PURE.
//!
//! A cluster may have thousands: few are shown, found by a search, and what is chosen and not shown is carried along.

use super::facts::{Facts, PodRow};
use super::words::Words;
use crate::api::ours::SYSTEM;
use crate::mechanism::Mechanism;
use std::collections::{BTreeMap, BTreeSet};

/// The most rows of one page (M10): a page is to be light, and nobody reads more.
const MOST_ROWS: usize = 80;

/// The picker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picker {
    /// What was searched for.
    pub(crate) search: String,
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// How many more match.
    pub(crate) more: usize,
    /// Excluded namespaces that are not shown.
    pub(crate) carried: Vec<String>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// Whether there is one of that name.
    pub(crate) exists: bool,
    /// Whether it is chosen.
    pub(crate) excluded: bool,
    /// Why it is not like others.
    pub(crate) lock: Option<Lock>,
    /// What its labels say of injection.
    pub(crate) injection: String,
    /// Its pods.
    pub(crate) pods: Pods,
}

impl Row {
    /// Whether nothing that is chosen here changes anything.
    pub(crate) fn is_fast(&self) -> bool {
        self.lock == Some(Lock::Always)
    }
}

/// Why a namespace is not chosen and unchosen like others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Our webhook never looks at pods there: they keep istio-init, chosen or not.
    Always,
    /// This one applied it as well: unless that is taken over, it stays.
    Held(String),
}

impl Lock {
    /// The reason, and what to do.
    pub(crate) fn said(&self, words: &Words) -> String {
        match self {
            Lock::Always => words.locked_always.to_owned(),
            Lock::Held(holder) => format!("{} {holder}: {}", words.locked_by, words.held_means),
        }
    }
}

/// Pods of the mesh by who redirects them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pods {
    /// The chain.
    pub(crate) cni: usize,
    /// Their own istio-init.
    pub(crate) init: usize,
    /// Nobody.
    pub(crate) none: usize,
    /// Those that get another redirection when they are restarted.
    pub(crate) owing: usize,
}

impl Pods {
    /// Takes one in.
    pub(crate) fn count(&mut self, pod: &PodRow) {
        match pod.before {
            Mechanism::Cni => self.cni += 1,
            Mechanism::InitContainer | Mechanism::Kept => self.init += 1,
            Mechanism::None => self.none += 1,
        }
        self.owing += usize::from(pod.owes);
    }
}

/// Makes it: what is excluded first, then by name.
pub(crate) fn picker(facts: &Facts, excluded: &[String], search: &str) -> Picker {
    let mut pods: BTreeMap<&str, Pods> = BTreeMap::new();
    for pod in &*facts.pods {
        pods.entry(&pod.namespace).or_default().count(pod);
    }
    let there: BTreeMap<&str, &str> =
        facts.namespaces.iter().map(|one| (one.name.as_str(), one.injection.as_str())).collect();
    let chosen: BTreeSet<&str> = excluded.iter().map(String::as_str).collect();
    let mut names: Vec<&str> = there.keys().chain(&chosen).copied().collect();
    names.sort_by_key(|name| (!chosen.contains(name), *name));
    names.dedup();
    names.retain(|name| name.contains(search));
    let more = names.len().saturating_sub(MOST_ROWS);
    names.truncate(MOST_ROWS);
    let row = |name: &&str| Row {
        name: (*name).to_owned(),
        // Where none could be read, nothing is said of one.
        exists: there.is_empty() || there.contains_key(name),
        excluded: chosen.contains(name),
        lock: lock(facts, name),
        injection: there.get(name).map(|text| (*text).to_owned()).unwrap_or_default(),
        pods: pods.get(name).copied().unwrap_or_default(),
    };
    let rows = names.iter().map(row).collect();
    let carried = chosen.iter().filter(|name| !names.contains(name)).map(|name| (*name).to_owned()).collect();
    Picker { search: search.to_owned(), rows, more, carried }
}

fn lock(facts: &Facts, name: &str) -> Option<Lock> {
    if name == SYSTEM || name == facts.home {
        return Some(Lock::Always);
    }
    let entry = format!(".spec.excludeNamespaces[\"{name}\"]");
    facts.held.iter().find(|(field, _)| *field == entry).map(|(_, holder)| Lock::Held(holder.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::facts::Namespace;

    fn check(count: usize, excluded: &[&str], search: &str, first: &[&str], more: usize, carried: &[&str]) {
        let namespace = |number: usize| Namespace { name: format!("n{number:03}"), injection: String::new() };
        let facts = Facts { namespaces: (0..count).map(namespace).collect(), ..Facts::default() };
        let excluded: Vec<String> = excluded.iter().map(|name| (*name).to_owned()).collect();
        let found = picker(&facts, &excluded, search);
        let names: Vec<&str> = found.rows.iter().take(first.len()).map(|row| row.name.as_str()).collect();
        assert_eq!((names.as_slice(), found.more), (first, more));
        assert_eq!(found.carried, carried);
    }

    #[test]
    fn what_is_chosen_comes_first_and_is_never_lost() {
        check(3, &["n002", "gone"], "", &["gone", "n002", "n000", "n001"], 0, &[]);
        check(250, &["n200"], "", &["n200", "n000"], 170, &[]);
        check(250, &["n200", "gone"], "n00", &["n000"], 0, &["gone", "n200"]);
    }

    #[test]
    fn a_lock_says_who_and_why() {
        let held = vec![(".spec.excludeNamespaces[\"shop\"]".to_owned(), "gitops".to_owned())];
        let facts = Facts { home: "millrace-system".to_owned(), held, ..Facts::default() };
        assert_eq!(lock(&facts, "shop"), Some(Lock::Held("gitops".to_owned())));
        assert_eq!(
            (lock(&facts, SYSTEM), lock(&facts, "millrace-system")),
            (Some(Lock::Always), Some(Lock::Always))
        );
        assert_eq!(lock(&facts, "web"), None);
    }
}
