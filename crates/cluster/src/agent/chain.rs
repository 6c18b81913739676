//! What this agent wants of the node's chain: from its flags, the configuration, and the namespaces that have a mesh.
//!
//! `install` decides and writes; the guard keeps what was written. This only says what is wanted, and when it is new.

use super::guard::Installed;
use super::install::{self, Change, Error, Place, Target};
use super::pods::Enrolled;
use super::shared::Shared;
use anyhow::Result;
use millrace_core::cni::Entry;
use millrace_core::conflist;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long the first lists of pods and namespaces are waited for before the chain is published with the hint that is there already.
const FIRST_LIST: Duration = Duration::from_secs(10);
/// Changes that come together are one write: each makes every runtime on the node read its lists again.
const TOGETHER: Duration = Duration::from_millis(200);

/// The chain of this agent, and what is wanted of it.
pub(super) struct Chain {
    base: Target,
    /// What is wanted since the last time something new was: the guard compares with this, and so takes nothing new for damage.
    target: Arc<Mutex<Target>>,
    installed: Arc<Installed>,
    /// Where our entry is, since it was there.
    place: watch::Sender<Option<Place>>,
}

impl Chain {
    /// The chain of an agent that holds the lock. Nothing is written to it yet.
    pub(super) fn new(shared: &Shared) -> Result<Chain> {
        let mut base = shared.setup.target.clone();
        base.wish.claim = install::command::take_ticket(&base, &shared.setup.installer)?;
        // While nothing is known of namespaces, the hint that is there stays.
        base.wish.entry.enrolled_namespaces = published(&base)?;
        let target = Arc::new(Mutex::new(base.clone()));
        let wanted = target.clone();
        Ok(Chain {
            base,
            target,
            installed: Arc::new(Installed::new(move || Ok(locked(&wanted).clone()))),
            place: watch::Sender::new(None),
        })
    }

    /// Where our entry is, as far as that is known.
    pub(super) fn place(&self) -> watch::Receiver<Option<Place>> {
        self.place.subscribe()
    }

    /// What the guard keeps.
    pub(super) fn installed(&self) -> Arc<Installed> {
        self.installed.clone()
    }

    /// Waits until it is known what to publish, as far as that is worth waiting for, and publishes it.
    pub(super) async fn publish(&self, shared: &Shared) {
        let mut enrolled = shared.pods.enrolled();
        let known = enrolled.wait_for(|enrolled| *enrolled != Enrolled::Unknown);
        tokio::select! {
            _ = tokio::time::timeout(FIRST_LIST, known) => {}
            () = shared.stop.cancelled() => return,
        }
        self.renew(shared);
        self.converge(shared).await;
    }

    /// Brings the chain to each new configuration and hint, until it is told to stop.
    pub(super) async fn follow(&self, shared: &Shared) {
        let (mut config, mut enrolled) = (shared.config.clone(), shared.pods.enrolled());
        // What came since the first publication is looked at once.
        enrolled.mark_changed();
        loop {
            tokio::select! {
                changed = config.changed() => if changed.is_err() { return shared.stop.cancelled().await },
                changed = enrolled.changed() => if changed.is_err() { return shared.stop.cancelled().await },
                () = shared.stop.cancelled() => return,
            }
            tokio::time::sleep(TOGETHER).await;
            config.borrow_and_update();
            enrolled.borrow_and_update();
            if self.renew(shared) {
                self.converge(shared).await;
            }
        }
    }

    /// Says anew what is wanted; whether that is something new.
    fn renew(&self, shared: &Shared) -> bool {
        let mut target = locked(&self.target);
        let mut entry = shared.config.borrow().entry.clone();
        let published = target.wish.entry.enrolled_namespaces.clone();
        entry.enrolled_namespaces = hint(published, &shared.pods.enrolled().borrow());
        let entry = install::command::entry(Path::new(&self.base.wish.entry.state_dir), &entry);
        let is_new = entry != target.wish.entry;
        target.wish.entry = entry;
        is_new
    }

    async fn converge(&self, shared: &Shared) {
        let installed = self.installed.clone();
        let done = tokio::task::spawn_blocking(move || installed.converge()).await;
        let failed = |error: anyhow::Error| {
            shared.metrics.installed(false);
            tracing::error!("the chain is not as it should be: {error:#}");
        };
        match done.map_err(anyhow::Error::from).flatten() {
            Ok(Ok(converged)) => {
                shared.metrics.installed(true);
                self.place.send_replace(Some(converged.place.clone()));
                converged.notes.iter().for_each(|note| tracing::warn!("{note}"));
                let Change { binary, list } = converged.change;
                if binary || list {
                    tracing::info!(binary, list, "installed: {}", converged.place);
                }
            }
            // Its owner comes first; the guard waits for that.
            Ok(Err(Error::Refused(refusal))) if refusal.may_pass() => {
                tracing::warn!("not in the chain yet: {refusal}");
            }
            Ok(Err(error)) => failed(error.into()),
            Err(error) => failed(error),
        }
    }
}

/// The hint that follows the one before. It grows at once and shrinks only when it has to be written anyway: a namespace too
/// many costs a question, one too few a pod that starts unprotected. While nothing is known it stays; when there are too many
/// for one, none is right, and each pod is asked for.
fn hint(before: Option<Vec<String>>, enrolled: &Enrolled) -> Option<Vec<String>> {
    match enrolled {
        Enrolled::Unknown => before,
        Enrolled::TooMany => None,
        Enrolled::These(all) => {
            let covers = |known: &Vec<String>| all.iter().all(|name| known.contains(name));
            before.filter(covers).or_else(|| Some(all.clone()))
        }
    }
}

fn locked(target: &Mutex<Target>) -> MutexGuard<'_, Target> {
    target.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hint in the entry that is on the node, left there by an earlier agent.
fn published(target: &Target) -> Result<Option<Vec<String>>> {
    let seen = install::look(target)?;
    let texts = seen.lists.iter().filter_map(|list| list.text.as_ref().ok());
    let ours = texts.filter_map(|text| conflist::read(text).ok()).flat_map(|chain| chain.ours);
    // A file of an auxiliary chain is one entry, ours.
    let auxiliary = seen.auxiliary.iter().filter_map(|(_, text)| serde_json::from_str(text.as_ref()?).ok());
    let ours = ours.chain(auxiliary);
    Ok(ours.filter_map(|entry| Entry::of(&entry).0.enrolled_namespaces).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: Option<&str>, enrolled: &Enrolled, after: Option<&str>) {
        let list = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(hint(before.map(list), enrolled), after.map(list), "{before:?} meets {enrolled:?}");
    }

    #[test]
    fn a_hint_never_lacks_a_namespace_that_is_known() {
        let these = |names: &str| Enrolled::These(names.split_whitespace().map(str::to_owned).collect());
        check(None, &Enrolled::Unknown, None);
        check(Some("a"), &Enrolled::Unknown, Some("a"));
        check(None, &these(""), Some(""));
        check(Some("a"), &these("a b"), Some("a b"));
        // It shrinks with the next that has to be written.
        check(Some("a b"), &these("b"), Some("a b"));
        check(Some("a b"), &these("b c"), Some("b c"));
        // What an earlier one named is not all any more.
        check(Some("a"), &Enrolled::TooMany, None);
        check(None, &Enrolled::TooMany, None);
    }
}
