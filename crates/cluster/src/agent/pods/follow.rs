//! Follows one kind of object: list, then watch from there, for ever, through outages, restarts, 410 Gone and expired tokens.
//!
//! Decides nothing about what it hears. A watch that was open is resumed where it was, without a new list, if the server
//! still knows that place.

use super::MOST_LISTED;
use crate::agent::client::{Link, is_unauthorized};
use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, VersionMatch, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch as signal;
use tokio::time::timeout;

/// For a list, and for the first byte of a watch.
const REPLY: Duration = Duration::from_secs(30);
/// How long a watch lasts before the server ends it, in seconds. So long it also takes to notice a connection that died
/// silently; resuming costs one request and no list.
const WATCH: u32 = 120;
/// After that time a watch that has neither spoken nor ended is dead.
const SILENCE: Duration = Duration::from_secs(WATCH as u64 + 10);
/// The first wait after a failure; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(200);
/// The longest: an API server that comes back has all nodes of a cluster ask within it.
const LONGEST: Duration = Duration::from_secs(10);
/// A watch that ends sooner counts as a failure, so that a server that ends each at once is not asked in a loop.
const STEADY: Duration = Duration::from_secs(5);
/// After as many failures in a row nothing is believed any more: neither where the watch was (the server may have been
/// restored from a backup, and its versions begin again) nor the client (another authority, another address).
const BELIEVED: u32 = 4;

/// What is heard of objects.
#[derive(Debug)]
pub(super) enum Heard<K> {
    /// These are all there are.
    Listed(Vec<K>),
    /// The watch is open: what follows is complete.
    Open,
    Applied(K),
    Gone(K),
    /// Nothing is heard for now.
    Broken(String),
}

/// What is followed, and how.
#[derive(Clone, Debug)]
pub(super) struct What {
    /// Its name in logs.
    pub(super) name: &'static str,
    pub(super) fields: Option<String>,
    /// Whether the server's cache will do for the list. It must where there is a selector: etcd has no such index, so
    /// that each node's list would read every pod of the cluster.
    pub(super) cached: bool,
    /// Objects for each page of a list that is not cached.
    pub(super) page: u32,
    /// Spreads nodes' retries: each waits its own share of the time.
    pub(super) salt: String,
}

/// Follows until dropped. Of a list only what `keep` wants is told, and held in memory.
pub(super) async fn follow<K>(
    link: &Link,
    what: &What,
    mut doubt: signal::Receiver<u64>,
    keep: fn(&K) -> bool,
    mut hear: impl FnMut(Heard<K>),
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut place = None;
    let mut failures = 0;
    loop {
        let current = link.current();
        let api = Api::<K>::all(current.client);
        let (start, is_open) = (Instant::now(), AtomicBool::new(false));
        let mut heed = |heard: Heard<K>| {
            is_open.fetch_or(matches!(heard, Heard::Open), Ordering::Relaxed);
            hear(heard);
        };
        let ended = tokio::select! {
            ended = pass(&api, what, &mut place, keep, &mut heed) => ended,
            () = doubted(&mut doubt, &is_open) => continue,
        };
        let opened = is_open.into_inner();
        failures = if opened && start.elapsed() >= STEADY { 0 } else { failures + 1 };
        let unauthorized = match ended {
            Ok(()) => false,
            Err(Ended::Gone) => {
                tracing::info!(
                    what = what.name,
                    "the API server no longer knows where the watch was; listing again"
                );
                place = None;
                false
            }
            Err(Ended::Failed(why, unauthorized)) => {
                tracing::warn!(what = what.name, "watch: {why}; trying again");
                hear(Heard::Broken(why));
                unauthorized
            }
        };
        if failures >= BELIEVED && !opened {
            place = None;
        }
        if (unauthorized || failures >= BELIEVED)
            && let Err(error) = link.renew(current.generation).await
        {
            tracing::warn!(what = what.name, "{error:#}");
        }
        let wait = pause(failures, &what.salt);
        let _ = timeout(wait, doubt.changed()).await;
    }
}

/// Somebody met a dead connection: ours may be as dead, and would not tell for minutes. One that is being made is let be.
async fn doubted(doubt: &mut signal::Receiver<u64>, is_open: &AtomicBool) {
    while doubt.changed().await.is_ok() {
        if is_open.load(Ordering::Relaxed) {
            return;
        }
    }
    std::future::pending().await
}

#[derive(Debug)]
enum Ended {
    /// The place is too old.
    Gone,
    /// Why, and whether the server did not know us.
    Failed(String, bool),
}

/// One list if there is no place to go on from, and one watch.
async fn pass<K>(
    api: &Api<K>,
    what: &What,
    place: &mut Option<String>,
    keep: fn(&K) -> bool,
    hear: &mut impl FnMut(Heard<K>),
) -> Result<(), Ended>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let start = match place.clone() {
        Some(place) => place,
        None => {
            let (all, version) = list(api, what, keep).await?;
            hear(Heard::Listed(all));
            place.insert(version).clone()
        }
    };
    let mut params = WatchParams::default().timeout(WATCH);
    params.field_selector.clone_from(&what.fields);
    let stream = timeout(REPLY, api.watch(&params, &start)).await;
    let stream = stream.map_err(|_| silent())?.map_err(failed)?;
    let mut stream = pin!(stream.map_err(failed).boxed());
    hear(Heard::Open);
    loop {
        let next = timeout(SILENCE, stream.try_next()).await.map_err(|_| silent())?;
        let Some(event) = next? else { return Ok(()) };
        match event {
            WatchEvent::Added(one) | WatchEvent::Modified(one) => {
                place.clone_from(&one.meta().resource_version);
                hear(Heard::Applied(one));
            }
            WatchEvent::Deleted(one) => {
                place.clone_from(&one.meta().resource_version);
                hear(Heard::Gone(one));
            }
            WatchEvent::Bookmark(mark) => *place = Some(mark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(failed(kube::Error::Api(status.boxed()))),
        }
    }
}

async fn list<K>(api: &Api<K>, what: &What, keep: fn(&K) -> bool) -> Result<(Vec<K>, String), Ended>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut params = ListParams { field_selector: what.fields.clone(), ..ListParams::default() };
    if what.cached {
        params = params.at("0").matching(VersionMatch::NotOlderThan);
    } else {
        params = params.limit(what.page);
    }
    let mut all = Vec::new();
    loop {
        let page = timeout(REPLY, api.list(&params)).await.map_err(|_| silent())?.map_err(failed)?;
        all.extend(page.items.into_iter().filter(keep));
        if all.len() > MOST_LISTED {
            return Err(Ended::Failed(format!("there are more than {MOST_LISTED} {}", what.name), false));
        }
        let version = page.metadata.resource_version.unwrap_or_default();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => {
                // The first page has chosen the version.
                params.resource_version = None;
                params.version_match = None;
                params = params.continue_token(&token);
            }
            None => return Ok((all, version)),
        }
    }
}

fn failed(error: kube::Error) -> Ended {
    match &error {
        kube::Error::Api(status) if status.code == 410 => Ended::Gone,
        _ => Ended::Failed(chain(&error), is_unauthorized(&error)),
    }
}

fn silent() -> Ended {
    Ended::Failed("the API server does not answer".to_owned(), false)
}

/// An error with its causes, each once.
pub(super) fn chain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} ({})", status.message, status.code);
    }
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// How long to wait after as many failures: between half of the time and all of it, by the salt.
fn pause(failures: u32, salt: &str) -> Duration {
    let most = FIRST.saturating_mul(1 << failures.min(10)).min(LONGEST);
    let mut hasher = DefaultHasher::new();
    (salt, failures).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 1024).unwrap_or_default();
    most / 2 + most / 2 * share / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ_between_nodes() {
        for failures in 0..40 {
            let wait = pause(failures, "node-1");
            assert!(wait >= FIRST / 2 && wait <= LONGEST, "{failures}: {wait:?}");
        }
        assert!(pause(9, "a") >= LONGEST / 2);
        let all: std::collections::BTreeSet<Duration> =
            (0..20).map(|n| pause(5, &format!("node-{n}"))).collect();
        assert!(all.len() > 10, "{all:?}");
    }
}
