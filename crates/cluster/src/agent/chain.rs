//! What this agent wants of the node's chain: from its flags, the configuration, and the namespaces that have a mesh.
//!
//! `install` decides and writes; the guard keeps what was written. This only says what is wanted, and when it is new.

use super::config::Config;
use super::guard::Installed;
use super::install::{self, Change, Error, Target};
use super::shared::Shared;
use anyhow::Result;
use millrace_core::cni::Entry;
use millrace_core::conflist;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a first list of pods is waited for before the chain is published with the hint that is there already.
const FIRST_LIST: Duration = Duration::from_secs(10);
/// Changes that come together are one write: each makes every runtime on the node read its lists again.
const TOGETHER: Duration = Duration::from_millis(200);

/// What is wanted of the chain, at any moment.
struct Wanted {
    base: Target,
    config: watch::Receiver<Config>,
    enrolled: watch::Receiver<Option<Vec<String>>>,
    /// The hint that is or was published; nothing while none is known.
    hint: Mutex<Option<Vec<String>>>,
}

/// The chain of this agent, which holds the lock. Nothing is written to it yet.
pub(super) fn chain(shared: &Shared) -> Result<Arc<Installed>> {
    let mut base = shared.setup.target.clone();
    base.wish.claim = install::command::take_ticket(&base, &shared.setup.installer)?;
    let wanted = Wanted {
        base,
        config: shared.config.clone(),
        enrolled: shared.pods.enrolled(),
        hint: Mutex::new(None),
    };
    Ok(Arc::new(Installed::new(move || wanted.target())))
}

/// Waits until it is known what to publish, as far as that is worth waiting for, and publishes it.
pub(super) async fn publish(shared: &Shared, chain: &Arc<Installed>) {
    let mut synced = shared.pods.synced();
    tokio::select! {
        _ = tokio::time::timeout(FIRST_LIST, synced.wait_for(|synced| *synced)) => {}
        () = shared.stop.cancelled() => return,
    }
    converge(shared, chain).await;
}

/// Brings the chain to each new configuration and hint, until it is told to stop.
pub(super) async fn follow(shared: Shared, chain: Arc<Installed>) {
    let (mut config, mut enrolled) = (shared.config.clone(), shared.pods.enrolled());
    // Whatever came since the first publication counts as new.
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
        converge(&shared, &chain).await;
    }
}

async fn converge(shared: &Shared, chain: &Arc<Installed>) {
    let chain = chain.clone();
    let done = tokio::task::spawn_blocking(move || chain.converge()).await;
    let failed = |error: anyhow::Error| {
        shared.metrics.installed(false);
        tracing::error!("the chain is not as it should be: {error:#}");
    };
    match done.map_err(anyhow::Error::from).flatten() {
        Ok(Ok(converged)) => {
            shared.metrics.installed(true);
            converged.notes.iter().for_each(|note| tracing::warn!("{note}"));
            let Change { binary, list } = converged.change;
            if binary || list {
                tracing::info!(binary, list, "installed: {}", converged.place);
            }
        }
        // Its owner comes first; the guard waits for that.
        Ok(Err(Error::Refused(refusal))) if refusal.may_pass() => {
            tracing::warn!("not in the chain yet: {refusal}")
        }
        Ok(Err(error)) => failed(error.into()),
        Err(error) => failed(error),
    }
}

impl Wanted {
    fn target(&self) -> Result<Target> {
        let mut target = self.base.clone();
        let said = Entry { enrolled_namespaces: self.hint()?, ..self.config.borrow().entry.clone() };
        target.wish.entry = install::command::entry(Path::new(&target.wish.entry.state_dir), &said);
        Ok(target)
    }

    /// The hint grows at once and shrinks only when it has to be written anyway: a namespace too many costs a question,
    /// one too few a pod that starts unprotected. While nothing is known the one that is published stays.
    fn hint(&self) -> Result<Option<Vec<String>>> {
        let mut hint = self.hint.lock().unwrap_or_else(PoisonError::into_inner);
        if hint.is_none() {
            *hint = published(&self.base)?;
        }
        let now = self.enrolled.borrow().clone();
        if let Some(now) = now {
            let covered = hint.as_ref().is_some_and(|known| now.iter().all(|name| known.contains(name)));
            if !covered {
                *hint = Some(now);
            }
        }
        Ok(hint.clone())
    }
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
